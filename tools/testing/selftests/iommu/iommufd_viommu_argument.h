/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What holds for the argument of each ioctl: its length, and where it lies. The
 * program adds a variant for each, and has before it is included:
 *
 *	open_argument()	 what the ioctls need
 *	close_argument() check that nothing is left of it
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#ifndef __SELFTEST_IOMMUFD_VIOMMU_ARGUMENT
#define __SELFTEST_IOMMUFD_VIOMMU_ARGUMENT

#include "iommufd_viommu_utils.h"

FIXTURE(argument)
{
	struct rig rig;
	/* With room for a longer one behind it */
	void *cmd;
};

FIXTURE_VARIANT(argument)
{
	unsigned long request;
	void (*make)(const struct rig *rig, void *cmd);
	size_t size;
	/* The shortest that is no EINVAL, and that has all this command needs */
	size_t min;
	size_t enough;
};

FIXTURE_SETUP(argument)
{
	self->cmd = two_pages();
	ASSERT_EQ(0, open_argument(&self->rig, self->cmd));
	variant->make(&self->rig, self->cmd);
}

FIXTURE_TEARDOWN(argument)
{
	close_argument(_metadata, &self->rig);
}

TEST_F(argument, length_is_that_of_the_uapi)
{
	EXPECT_EQ(variant->size, *(__u32 *)self->cmd);
}

TEST_F(argument, too_short_EINVAL)
{
	__u32 *size = self->cmd;

	for (*size = 0; *size < variant->min; ++*size)
		EXPECT_REFUSED(EINVAL, variant->request, self->cmd);
}

TEST_F(argument, short_one_is_enough)
{
	*(__u32 *)self->cmd = variant->enough;
	EXPECT_EQ(0, call(self->rig.fd, variant->request, self->cmd));
}

TEST_F(argument, longer_with_zeros_behind)
{
	*(__u32 *)self->cmd = PAGE_SIZE;
	EXPECT_EQ(0, call(self->rig.fd, variant->request, self->cmd));
}

TEST_F(argument, longer_with_something_behind_E2BIG)
{
	*(__u32 *)self->cmd = variant->size + 16;
	*(char *)(self->cmd + variant->size + 15) = 1;
	EXPECT_REFUSED(E2BIG, variant->request, self->cmd);
}

TEST_F(argument, not_mapped_EFAULT)
{
	EXPECT_REFUSED(EFAULT, variant->request, self->cmd + PAGE_SIZE);
}

TEST_F(argument, half_mapped_EFAULT)
{
	void *cmd = self->cmd + PAGE_SIZE - 8;

	*(__u32 *)cmd = variant->size;
	EXPECT_REFUSED(EFAULT, variant->request, cmd);
}

TEST_F(argument, read_only_EFAULT)
{
	ASSERT_EQ(0, mprotect(self->cmd, PAGE_SIZE, PROT_READ));
	EXPECT_REFUSED(EFAULT, variant->request, self->cmd);
}

#endif
