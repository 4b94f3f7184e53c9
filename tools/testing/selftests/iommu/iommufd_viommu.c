// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of vIOMMU, vDEVICE, vEVENTQ and of what else iommufd does for virtual
 * IOMMUs, on the mock IOMMU: all that user space can see.
 *
 * Each test starts with a context of its own. At its end the context must go,
 * with all mock devices and without a warning of the kernel.
 *
 * Out of reach: a device behind another IOMMU (there is one mock IOMMU), the
 * wrap of sequence numbers after 2^31 events, and a virtual ID above ULONG_MAX
 * where long has 64 bits.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/wait.h>

#include "iommufd_viommu_utils.h"

#define DEPTH 4
#define MAX_DEPTH 0x80000
#define MAX_ENTRIES 0x80000
#define NO_ID 0x7ffffff0
#define ROUNDS 100

static int check_cache(const struct rig *rig, __u32 device, __u32 id,
		       __u32 value)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_CHECK_CACHE,
		.id = device,
		.check_dev_cache = { .id = id, .cache = value },
	};

	return call(rig->fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_CHECK_CACHE),
		    &cmd);
}

static int triggers(const struct rig *rig, int num)
{
	int rc = 0;

	while (!rc && num--)
		rc = trigger(rig);
	return rc;
}

static ssize_t take(int fd, void *buf, size_t len)
{
	ssize_t done = read(fd, buf, len);

	return done < 0 ? -errno : done;
}

static short ready(int fd)
{
	struct pollfd pollfd = {
		.fd = fd,
		.events = POLLIN | POLLRDNORM | POLLOUT | POLLPRI,
	};

	return poll(&pollfd, 1, 0) < 0 ? -errno : pollfd.revents;
}

static bool is_event(const struct event *event, __u32 sequence)
{
	return !event->header.flags && event->header.sequence == sequence &&
	       event->data.virt_id == VIRT_ID;
}

static bool is_lost(const struct iommufd_vevent_header *header, __u32 sequence)
{
	return header->flags == IOMMU_VEVENTQ_FLAG_LOST_EVENTS &&
	       header->sequence == sequence;
}

/*
 * The argument of each ioctl: its length, and where it lies.
 */

static void make_viommu(const struct rig *rig, void *cmd)
{
	*(struct iommu_viommu_alloc *)cmd = viommu_cmd(rig);
}

static void make_vdevice(const struct rig *rig, void *cmd)
{
	*(struct iommu_vdevice_alloc *)cmd = vdevice_cmd(rig);
}

static void make_nested(const struct rig *rig, void *cmd)
{
	*(struct iommu_hwpt_alloc *)cmd = nested_cmd(rig);
}

static void make_veventq(const struct rig *rig, void *cmd)
{
	*(struct iommu_veventq_alloc *)cmd = veventq_cmd(rig, DEPTH);
}

static void make_hw_info(const struct rig *rig, void *cmd)
{
	*(struct iommu_hw_info *)cmd = hw_info_cmd(rig);
}

static void make_invalidate(const struct rig *rig, void *cmd)
{
	*(struct iommu_hwpt_invalidate *)cmd = invalidate_cmd(rig, NULL, 0);
}

static int open_argument(struct rig *rig, void *cmd)
{
	return rig_open(rig);
}

static void close_argument(struct __test_metadata *_metadata,
			   const struct rig *rig)
{
	check_gone(_metadata, rig);
}

#include "iommufd_viommu_argument.h"

FIXTURE_VARIANT_ADD(argument, viommu_alloc)
{
	.request = IOMMU_VIOMMU_ALLOC,
	.make = make_viommu,
	.size = 40,
	.min = 24,
	.enough = 24,
};

FIXTURE_VARIANT_ADD(argument, vdevice_alloc)
{
	.request = IOMMU_VDEVICE_ALLOC,
	.make = make_vdevice,
	.size = 24,
	.min = 24,
	.enough = 24,
};

FIXTURE_VARIANT_ADD(argument, veventq_alloc)
{
	.request = IOMMU_VEVENTQ_ALLOC,
	.make = make_veventq,
	.size = 32,
	.min = 28,
	.enough = 28,
};

FIXTURE_VARIANT_ADD(argument, hwpt_alloc)
{
	.request = IOMMU_HWPT_ALLOC,
	.make = make_nested,
	.size = 48,
	.min = 24,
	.enough = 40,
};

FIXTURE_VARIANT_ADD(argument, hwpt_invalidate)
{
	.request = IOMMU_HWPT_INVALIDATE,
	.make = make_invalidate,
	.size = 32,
	.min = 32,
	.enough = 32,
};

FIXTURE_VARIANT_ADD(argument, get_hw_info)
{
	.request = IOMMU_GET_HW_INFO,
	.make = make_hw_info,
	.size = 40,
	.min = 32,
	.enough = 32,
};

TEST_F(argument, read_only_leaves_nothing_in_the_way)
{
	ASSERT_EQ(0, mprotect(self->cmd, PAGE_SIZE, PROT_READ));
	EXPECT_REFUSED(EFAULT, variant->request, self->cmd);
	ASSERT_EQ(0, mprotect(self->cmd, PAGE_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, call(self->rig.fd, variant->request, self->cmd));
}

/*
 * A vIOMMU, and nothing on it yet.
 */

FIXTURE(viommu)
{
	struct rig rig;
};

FIXTURE_SETUP(viommu)
{
	ASSERT_EQ(0, rig_open(&self->rig));
}

FIXTURE_TEARDOWN(viommu)
{
	check_gone(_metadata, &self->rig);
}

/* IOMMU_VIOMMU_ALLOC */

TEST_F(viommu, alloc_many_on_one_parent)
{
	__u32 last = self->rig.viommu;
	__u32 id;
	int i;

	for (i = 0; i < 16; i++) {
		ASSERT_EQ(0, viommu_alloc(&self->rig, &id));
		EXPECT_LT(last, id);
		last = id;
	}
}

TEST_F(viommu, alloc_flags_EOPNOTSUPP)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);

	for (cmd.flags = 1; cmd.flags; cmd.flags <<= 1)
		EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_reserved_EOPNOTSUPP)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);

	cmd.__reserved = 1;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_default_type_EOPNOTSUPP)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);

	cmd.type = IOMMU_VIOMMU_TYPE_DEFAULT;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_type_of_another_iommu_EOPNOTSUPP)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);

	cmd.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_unknown_device_ENOENT)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);

	cmd.dev_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_VIOMMU_ALLOC, &cmd);
	cmd.dev_id = self->rig.ioas;
	EXPECT_REFUSED(ENOENT, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_unknown_hwpt_ENOENT)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);
	__u32 nested;

	cmd.hwpt_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_VIOMMU_ALLOC, &cmd);
	cmd.hwpt_id = self->rig.ioas;
	EXPECT_REFUSED(ENOENT, IOMMU_VIOMMU_ALLOC, &cmd);

	ASSERT_EQ(0, nested_alloc(&self->rig, &nested));
	cmd.hwpt_id = nested;
	EXPECT_REFUSED(ENOENT, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_hwpt_that_is_no_parent_EINVAL)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);

	ASSERT_EQ(0, _test_cmd_hwpt_alloc(self->rig.fd, self->rig.device,
					  self->rig.ioas, 0, 0, &cmd.hwpt_id,
					  IOMMU_HWPT_DATA_NONE, NULL, 0));
	EXPECT_REFUSED(EINVAL, IOMMU_VIOMMU_ALLOC, &cmd);
	EXPECT_EQ(0, destroy(self->rig.fd, cmd.hwpt_id));
}

TEST_F(viommu, alloc_data_go_both_ways)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);
	struct iommu_viommu_selftest data = { .in_data = 0x600d };

	cmd.data_uptr = (uintptr_t)&data;
	cmd.data_len = sizeof(data);
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_VIOMMU_ALLOC, &cmd));
	EXPECT_EQ(0x600d, data.out_data);
}

TEST_F(viommu, alloc_data_too_short_EINVAL)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);
	struct iommu_viommu_selftest data = {};

	cmd.data_uptr = (uintptr_t)&data;
	cmd.data_len = offsetofend(struct iommu_viommu_selftest, out_data) - 1;
	EXPECT_REFUSED(EINVAL, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_data_too_long_EINVAL)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);
	char data[sizeof(struct iommu_viommu_selftest) + 1] = {};

	cmd.data_uptr = (uintptr_t)data;
	cmd.data_len = sizeof(data);
	EXPECT_REFUSED(EINVAL, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_data_not_mapped_EFAULT)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);

	cmd.data_uptr = (uintptr_t)two_pages() + PAGE_SIZE;
	cmd.data_len = sizeof(struct iommu_viommu_selftest);
	EXPECT_REFUSED(EFAULT, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_data_read_only_EFAULT)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);
	void *data = two_pages();

	ASSERT_EQ(0, mprotect(data, PAGE_SIZE, PROT_READ));
	cmd.data_uptr = (uintptr_t)data;
	cmd.data_len = sizeof(struct iommu_viommu_selftest);
	EXPECT_REFUSED(EFAULT, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, alloc_checks_in_the_order_of_the_uapi)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);

	cmd.flags = 1;
	cmd.dev_id = NO_ID;
	cmd.hwpt_id = NO_ID;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VIOMMU_ALLOC, &cmd);
	cmd.flags = 0;
	cmd.type = 12345;
	EXPECT_REFUSED(ENOENT, IOMMU_VIOMMU_ALLOC, &cmd);
	cmd.dev_id = self->rig.device;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VIOMMU_ALLOC, &cmd);
}

TEST_F(viommu, parent_and_ioas_are_busy)
{
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.parent));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.ioas));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.parent));
}

TEST_F(viommu, destroyed_one_is_unknown)
{
	struct iommu_vdevice_alloc vdevice = vdevice_cmd(&self->rig);
	struct iommu_hwpt_alloc nested = nested_cmd(&self->rig);
	struct iommu_veventq_alloc veventq = veventq_cmd(&self->rig, DEPTH);

	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
	EXPECT_EQ(-ENOENT, destroy(self->rig.fd, self->rig.viommu));
	EXPECT_EQ(-ENOENT, call(self->rig.fd, IOMMU_VDEVICE_ALLOC, &vdevice));
	EXPECT_EQ(-ENOENT, call(self->rig.fd, IOMMU_VEVENTQ_ALLOC, &veventq));
	EXPECT_EQ(-EINVAL, call(self->rig.fd, IOMMU_HWPT_ALLOC, &nested));
}

TEST_F(viommu, outlives_its_device)
{
	__u32 vdevice;

	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.stdev));
	ASSERT_EQ(0, mock_device(&self->rig, &self->rig.stdev,
				 &self->rig.device));
	EXPECT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &vdevice));
}

/* IOMMU_VDEVICE_ALLOC */

TEST_F(viommu, vdevice_alloc_any_virtual_id)
{
	static const __u64 virt_ids[] = { 0, 1, 0xffffffff, ~0UL };
	__u32 id;
	int i;

	for (i = 0; i < ARRAY_SIZE(virt_ids); i++) {
		EXPECT_EQ(0, vdevice_alloc(&self->rig, virt_ids[i], &id));
		EXPECT_NE(0, id);
		EXPECT_EQ(0, destroy(self->rig.fd, id));
	}
}

TEST_F(viommu, vdevice_alloc_unknown_viommu_ENOENT)
{
	struct iommu_vdevice_alloc cmd = vdevice_cmd(&self->rig);

	cmd.viommu_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_VDEVICE_ALLOC, &cmd);
	cmd.viommu_id = self->rig.parent;
	EXPECT_REFUSED(ENOENT, IOMMU_VDEVICE_ALLOC, &cmd);
}

TEST_F(viommu, vdevice_alloc_unknown_device_ENOENT)
{
	struct iommu_vdevice_alloc cmd = vdevice_cmd(&self->rig);

	cmd.dev_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_VDEVICE_ALLOC, &cmd);
	cmd.dev_id = self->rig.viommu;
	EXPECT_REFUSED(ENOENT, IOMMU_VDEVICE_ALLOC, &cmd);
}

TEST_F(viommu, vdevice_alloc_second_of_a_device_EEXIST)
{
	struct iommu_vdevice_alloc cmd = vdevice_cmd(&self->rig);
	__u32 id;

	ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &id));
	cmd.virt_id = VIRT_ID + 1;
	EXPECT_REFUSED(EEXIST, IOMMU_VDEVICE_ALLOC, &cmd);
	ASSERT_EQ(0, viommu_alloc(&self->rig, &cmd.viommu_id));
	EXPECT_REFUSED(EEXIST, IOMMU_VDEVICE_ALLOC, &cmd);
	EXPECT_EQ(0, destroy(self->rig.fd, cmd.viommu_id));
}

TEST_F(viommu, vdevice_alloc_second_of_a_device_takes_no_virtual_id)
{
	struct iommu_vdevice_alloc cmd = vdevice_cmd(&self->rig);
	__u32 stdev, id;

	ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &id));
	cmd.virt_id = VIRT_ID + 1;
	EXPECT_REFUSED(EEXIST, IOMMU_VDEVICE_ALLOC, &cmd);
	ASSERT_EQ(0, mock_device(&self->rig, &stdev, &cmd.dev_id));
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_VDEVICE_ALLOC, &cmd));
}

TEST_F(viommu, vdevice_alloc_used_virtual_id_EEXIST)
{
	struct iommu_vdevice_alloc cmd = vdevice_cmd(&self->rig);
	struct iommu_viommu_invalidate_selftest entry = { .vdev_id = VIRT_ID };
	struct iommu_hwpt_invalidate inv =
		invalidate_cmd(&self->rig, &entry, 1);
	__u32 stdev, id;

	ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &id));
	ASSERT_EQ(0, mock_device(&self->rig, &stdev, &cmd.dev_id));
	EXPECT_REFUSED(EEXIST, IOMMU_VDEVICE_ALLOC, &cmd);

	/* It is still the first device's */
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_INVALIDATE, &inv));
	EXPECT_EQ(0, check_cache(&self->rig, self->rig.device, 0, 0));

	/* And the device has none yet */
	cmd.virt_id = VIRT_ID + 1;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_VDEVICE_ALLOC, &cmd));
}

TEST_F(viommu, vdevice_alloc_same_virtual_id_on_another_viommu)
{
	struct iommu_vdevice_alloc cmd = vdevice_cmd(&self->rig);
	__u32 stdev, id;

	ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &id));
	ASSERT_EQ(0, mock_device(&self->rig, &stdev, &cmd.dev_id));
	ASSERT_EQ(0, viommu_alloc(&self->rig, &cmd.viommu_id));
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_VDEVICE_ALLOC, &cmd));
}

TEST_F(viommu, vdevice_alloc_again_after_destroy)
{
	__u32 id;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &id));
		ASSERT_EQ(0, destroy(self->rig.fd, id));
		ASSERT_EQ(-ENOENT, destroy(self->rig.fd, id));
	}
}

TEST_F(viommu, vdevice_alloc_checks_in_the_order_of_the_uapi)
{
	struct iommu_vdevice_alloc cmd = vdevice_cmd(&self->rig);
	__u32 id;

	ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &id));
	cmd.viommu_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_VDEVICE_ALLOC, &cmd);
	cmd.viommu_id = self->rig.viommu;
	EXPECT_REFUSED(EEXIST, IOMMU_VDEVICE_ALLOC, &cmd);
}

TEST_F(viommu, busy_with_a_vdevice)
{
	__u32 id;

	ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &id));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.viommu));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

/* IOMMU_HWPT_ALLOC */

TEST_F(viommu, hwpt_alloc_many)
{
	__u32 id;
	int i;

	for (i = 0; i < 16; i++)
		EXPECT_EQ(0, nested_alloc(&self->rig, &id));
}

TEST_F(viommu, hwpt_alloc_takes_the_data)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MD_CHECK_IOTLB,
		.check_iotlb = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT },
	};

	ASSERT_EQ(0, nested_alloc(&self->rig, &cmd.id));
	for (; cmd.check_iotlb.id < MOCK_NESTED_DOMAIN_IOTLB_NUM;
	     cmd.check_iotlb.id++)
		EXPECT_EQ(0, call(self->rig.fd,
				  _IOMMU_TEST_CMD(IOMMU_TEST_OP_MD_CHECK_IOTLB),
				  &cmd));
}

TEST_F(viommu, hwpt_alloc_flags_EOPNOTSUPP)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	for (cmd.flags = 1; cmd.flags; cmd.flags <<= 1)
		if (cmd.flags != IOMMU_HWPT_FAULT_ID_VALID)
			EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_reserved_EOPNOTSUPP)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.__reserved = 1;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_type_without_data_EINVAL)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.data_len = 0;
	EXPECT_REFUSED(EINVAL, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_data_without_type_EINVAL)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.data_type = IOMMU_HWPT_DATA_NONE;
	EXPECT_REFUSED(EINVAL, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_no_data_EOPNOTSUPP)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.data_type = IOMMU_HWPT_DATA_NONE;
	cmd.data_len = 0;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_type_of_another_iommu_EOPNOTSUPP)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.data_type = IOMMU_HWPT_DATA_VTD_S1;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_length_of_data_EINVAL)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.data_len = sizeof(nested_data) - 1;
	EXPECT_REFUSED(EINVAL, IOMMU_HWPT_ALLOC, &cmd);
	cmd.data_len = sizeof(nested_data) + 1;
	EXPECT_REFUSED(EINVAL, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_data_not_mapped_EFAULT)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.data_uptr = (uintptr_t)two_pages() + PAGE_SIZE;
	EXPECT_REFUSED(EFAULT, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_unknown_device_ENOENT)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.dev_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_on_something_else_EINVAL)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.pt_id = NO_ID;
	EXPECT_REFUSED(EINVAL, IOMMU_HWPT_ALLOC, &cmd);
	cmd.pt_id = self->rig.device;
	EXPECT_REFUSED(EINVAL, IOMMU_HWPT_ALLOC, &cmd);
}

TEST_F(viommu, hwpt_alloc_with_a_fault_queue)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);
	__u32 fault_fd;

	ASSERT_EQ(0, _test_ioctl_fault_alloc(self->rig.fd, &cmd.fault_id,
					     &fault_fd));
	EXPECT_EQ(0, close(fault_fd));
	cmd.flags = IOMMU_HWPT_FAULT_ID_VALID;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_ALLOC, &cmd));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, cmd.fault_id));
	EXPECT_EQ(0, destroy(self->rig.fd, cmd.out_hwpt_id));
	EXPECT_EQ(0, destroy(self->rig.fd, cmd.fault_id));
}

TEST_F(viommu, hwpt_with_a_fault_queue_gets_faults)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);
	struct rig *rig = &self->rig;
	__u32 fault_fd;
	int rc;

	ASSERT_EQ(0, vdevice_alloc(rig, VIRT_ID, &rig->vdevice));
	ASSERT_EQ(0, _test_ioctl_fault_alloc(rig->fd, &cmd.fault_id,
					     &fault_fd));
	cmd.flags = IOMMU_HWPT_FAULT_ID_VALID;
	ASSERT_EQ(0, call(rig->fd, IOMMU_HWPT_ALLOC, &cmd));
	rc = attach(rig, cmd.out_hwpt_id);
	if (rc == -ENODEV)
		SKIP(return, "the kernel has no CONFIG_IOMMU_IOPF");
	ASSERT_EQ(0, rc);
	EXPECT_EQ(0, _test_cmd_trigger_iopf(rig->fd, rig->device, fault_fd));
	EXPECT_EQ(0, attach(rig, rig->parent));
	EXPECT_EQ(0, destroy(rig->fd, cmd.out_hwpt_id));
}

TEST_F(viommu, hwpt_alloc_unknown_fault_queue_ENOENT)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(&self->rig);

	cmd.flags = IOMMU_HWPT_FAULT_ID_VALID;
	cmd.fault_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_HWPT_ALLOC, &cmd);
	/* The failed one holds the vIOMMU no more */
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

TEST_F(viommu, busy_with_a_hwpt)
{
	__u32 id;

	ASSERT_EQ(0, nested_alloc(&self->rig, &id));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.viommu));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

TEST_F(viommu, attach_without_vdevice_ENOENT_and_stay)
{
	__u32 plain, nested;

	ASSERT_EQ(0, _test_cmd_hwpt_alloc(self->rig.fd, self->rig.device,
					  self->rig.ioas, 0, 0, &plain,
					  IOMMU_HWPT_DATA_NONE, NULL, 0));
	ASSERT_EQ(0, attach(&self->rig, plain));
	ASSERT_EQ(0, nested_alloc(&self->rig, &nested));
	EXPECT_EQ(-ENOENT, attach(&self->rig, nested));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, plain));
	EXPECT_EQ(0, destroy(self->rig.fd, nested));
}

/* IOMMU_VEVENTQ_ALLOC */

TEST_F(viommu, veventq_alloc_flags_EOPNOTSUPP)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, DEPTH);

	for (cmd.flags = 1; cmd.flags; cmd.flags <<= 1)
		EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VEVENTQ_ALLOC, &cmd);
}

TEST_F(viommu, veventq_alloc_reserved_EOPNOTSUPP)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, DEPTH);

	cmd.__reserved = 1;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VEVENTQ_ALLOC, &cmd);
}

TEST_F(viommu, veventq_alloc_default_type_EOPNOTSUPP)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, DEPTH);

	cmd.type = IOMMU_VEVENTQ_TYPE_DEFAULT;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VEVENTQ_ALLOC, &cmd);
}

TEST_F(viommu, veventq_alloc_least_and_greatest_depth)
{
	__u32 id;
	int fd;

	EXPECT_EQ(0, veventq_alloc(&self->rig, MAX_DEPTH, &id, &fd));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, veventq_alloc(&self->rig, 1, &id, &fd));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
}

TEST_F(viommu, veventq_alloc_depth_out_of_range_EINVAL)
{
	static const __u32 depths[] = { 0, MAX_DEPTH + 1, ~0U };
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, DEPTH);
	int i;

	for (i = 0; i < ARRAY_SIZE(depths); i++) {
		cmd.veventq_depth = depths[i];
		EXPECT_REFUSED(EINVAL, IOMMU_VEVENTQ_ALLOC, &cmd);
	}
}

TEST_F(viommu, veventq_alloc_unknown_viommu_ENOENT)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, DEPTH);

	cmd.viommu_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_VEVENTQ_ALLOC, &cmd);
	cmd.viommu_id = self->rig.device;
	EXPECT_REFUSED(ENOENT, IOMMU_VEVENTQ_ALLOC, &cmd);
}

TEST_F(viommu, veventq_alloc_second_of_a_type_EEXIST)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, DEPTH);
	struct event event;
	__u32 id;
	int fd;

	ASSERT_EQ(0, veventq_alloc(&self->rig, DEPTH, &id, &fd));
	EXPECT_REFUSED(EEXIST, IOMMU_VEVENTQ_ALLOC, &cmd);

	/* The first one works as before */
	ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &self->rig.vdevice));
	ASSERT_EQ(0, nested_alloc(&self->rig, &self->rig.nested));
	ASSERT_EQ(0, attach(&self->rig, self->rig.nested));
	ASSERT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(sizeof(event), take(fd, &event, sizeof(event)));
	EXPECT_TRUE(is_event(&event, 0));
}

TEST_F(viommu, veventq_alloc_one_of_each_type)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, DEPTH);

	EXPECT_EQ(0, call(self->rig.fd, IOMMU_VEVENTQ_ALLOC, &cmd));
	for (cmd.type = 1; cmd.type < 8; cmd.type++)
		EXPECT_EQ(0, call(self->rig.fd, IOMMU_VEVENTQ_ALLOC, &cmd));
}

TEST_F(viommu, veventq_alloc_on_each_viommu)
{
	__u32 id;
	int fd;

	ASSERT_EQ(0, veventq_alloc(&self->rig, DEPTH, &id, &fd));
	ASSERT_EQ(0, viommu_alloc(&self->rig, &self->rig.viommu));
	EXPECT_EQ(0, veventq_alloc(&self->rig, DEPTH, &id, &fd));
}

TEST_F(viommu, veventq_alloc_no_more_files_EMFILE)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, DEPTH);
	struct rlimit few, many;
	int id = next_id(self->rig.fd);

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &many));
	few = many;
	few.rlim_cur = next_fd(self->rig.fd);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
	EXPECT_EQ(-EMFILE, call(self->rig.fd, IOMMU_VEVENTQ_ALLOC, &cmd));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &many));

	EXPECT_EQ(id, next_id(self->rig.fd));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

TEST_F(viommu, veventq_alloc_checks_in_the_order_of_the_uapi)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, 0);

	cmd.flags = 1;
	cmd.viommu_id = NO_ID;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_VEVENTQ_ALLOC, &cmd);
	cmd.flags = 0;
	EXPECT_REFUSED(EINVAL, IOMMU_VEVENTQ_ALLOC, &cmd);
	cmd.veventq_depth = DEPTH;
	EXPECT_REFUSED(ENOENT, IOMMU_VEVENTQ_ALLOC, &cmd);
}

TEST_F(viommu, veventq_file_is_close_on_exec_and_not_seekable)
{
	__u32 id;
	int fd;

	ASSERT_EQ(0, veventq_alloc(&self->rig, DEPTH, &id, &fd));
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ(O_RDWR, fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK));
	EXPECT_EQ(-1, lseek(fd, 0, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
}

TEST_F(viommu, busy_with_a_veventq)
{
	__u32 id;
	int fd;

	ASSERT_EQ(0, veventq_alloc(&self->rig, DEPTH, &id, &fd));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.viommu));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

/* IOMMU_GET_HW_INFO */

TEST_F(viommu, hw_info_of_the_type_asked_for)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);
	struct iommu_test_hw_info info = {};

	cmd.data_len = sizeof(info);
	cmd.data_uptr = (uintptr_t)&info;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	EXPECT_EQ(sizeof(info), cmd.data_len);
	EXPECT_EQ(IOMMU_HW_INFO_SELFTEST_REGVAL, info.test_reg);
	EXPECT_EQ(IOMMU_HW_CAP_DIRTY_TRACKING, cmd.out_capabilities);
}

TEST_F(viommu, hw_info_of_the_default_type)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);

	cmd.in_data_type = IOMMU_HW_INFO_TYPE_DEFAULT;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
}

TEST_F(viommu, hw_info_type_without_the_flag_is_ignored)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);

	cmd.flags = 0;
	cmd.in_data_type = 12345;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
}

TEST_F(viommu, hw_info_type_that_it_does_not_have_EOPNOTSUPP)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);

	for (cmd.in_data_type = 1; cmd.in_data_type; cmd.in_data_type <<= 1)
		EXPECT_REFUSED(EOPNOTSUPP, IOMMU_GET_HW_INFO, &cmd);
}

TEST_F(viommu, hw_info_flags_EOPNOTSUPP)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);

	for (cmd.flags = 2; cmd.flags; cmd.flags <<= 1)
		EXPECT_REFUSED(EOPNOTSUPP, IOMMU_GET_HW_INFO, &cmd);
}

TEST_F(viommu, hw_info_reserved_EOPNOTSUPP)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);
	int i;

	for (i = 0; i < sizeof(cmd.__reserved); i++) {
		cmd.__reserved[i] = 1;
		EXPECT_REFUSED(EOPNOTSUPP, IOMMU_GET_HW_INFO, &cmd);
		cmd.__reserved[i] = 0;
	}
}

TEST_F(viommu, hw_info_unknown_device_ENOENT)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);

	cmd.dev_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_GET_HW_INFO, &cmd);
}

TEST_F(viommu, hw_info_short_buffer_gets_what_fits)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);
	struct iommu_test_hw_info info = { .flags = 1, .test_reg = 2 };

	cmd.data_len = sizeof(info.flags);
	cmd.data_uptr = (uintptr_t)&info;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(sizeof(info), cmd.data_len);
	EXPECT_EQ(0, info.flags);
	EXPECT_EQ(2, info.test_reg);
}

TEST_F(viommu, hw_info_long_buffer_gets_zeros_behind)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);
	__u32 info[] = { 1, 1, 1, 1 };

	cmd.data_len = sizeof(info);
	cmd.data_uptr = (uintptr_t)info;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(sizeof(struct iommu_test_hw_info), cmd.data_len);
	EXPECT_EQ(IOMMU_HW_INFO_SELFTEST_REGVAL, info[1]);
	EXPECT_EQ(0, info[2]);
	EXPECT_EQ(0, info[3]);
}

TEST_F(viommu, hw_info_buffer_not_writable_EFAULT)
{
	struct iommu_hw_info cmd = hw_info_cmd(&self->rig);

	cmd.data_len = sizeof(struct iommu_test_hw_info);
	cmd.data_uptr = (uintptr_t)two_pages() + PAGE_SIZE;
	EXPECT_REFUSED(EFAULT, IOMMU_GET_HW_INFO, &cmd);
	/* The data fit, the zeros behind do not */
	cmd.data_len = PAGE_SIZE;
	cmd.data_uptr -= sizeof(struct iommu_test_hw_info);
	EXPECT_REFUSED(EFAULT, IOMMU_GET_HW_INFO, &cmd);
}

/*
 * Events: the device is attached to a HWPT of the vIOMMU, which has a vEVENTQ.
 */

FIXTURE(nested)
{
	struct rig rig;
};

FIXTURE_SETUP(nested)
{
	ASSERT_EQ(0, rig_open(&self->rig));
	ASSERT_EQ(0, rig_nest(&self->rig, DEPTH));
}

FIXTURE_TEARDOWN(nested)
{
	check_gone(_metadata, &self->rig);
}

TEST_F(nested, event_has_the_virtual_id)
{
	struct event event;

	ASSERT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
	EXPECT_EQ(0, event.header.flags);
	EXPECT_EQ(0, event.header.sequence);
	EXPECT_EQ(VIRT_ID, event.data.virt_id);
}

TEST_F(nested, events_come_in_order_and_numbered)
{
	struct event event;
	__u32 i;

	for (i = 0; i < 3 * DEPTH; i += 3) {
		ASSERT_EQ(0, triggers(&self->rig, 3));
		EXPECT_EQ(sizeof(event),
			  take(self->rig.event_fd, &event, sizeof(event)));
		EXPECT_TRUE(is_event(&event, i));
		EXPECT_EQ(sizeof(event),
			  take(self->rig.event_fd, &event, sizeof(event)));
		EXPECT_TRUE(is_event(&event, i + 1));
		EXPECT_EQ(sizeof(event),
			  take(self->rig.event_fd, &event, sizeof(event)));
		EXPECT_TRUE(is_event(&event, i + 2));
	}
}

TEST_F(nested, events_of_two_devices)
{
	struct rig other = self->rig;
	struct event events[2];

	ASSERT_EQ(0, mock_device(&other, &other.stdev, &other.device));
	ASSERT_EQ(0, vdevice_alloc(&other, VIRT_ID + 1, &other.vdevice));
	ASSERT_EQ(0, attach(&other, other.nested));

	ASSERT_EQ(0, trigger(&other));
	ASSERT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(sizeof(events),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_EQ(VIRT_ID + 1, events[0].data.virt_id);
	EXPECT_TRUE(is_event(&events[1], 1));
}

TEST_F(nested, one_read_takes_as_many_events_as_fit)
{
	struct event events[3];

	ASSERT_EQ(0, triggers(&self->rig, DEPTH));
	EXPECT_EQ(sizeof(events),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_TRUE(is_event(&events[0], 0));
	EXPECT_TRUE(is_event(&events[1], 1));
	EXPECT_TRUE(is_event(&events[2], 2));
}

TEST_F(nested, one_read_takes_all_there_are)
{
	struct event events[DEPTH + 1];

	ASSERT_EQ(0, triggers(&self->rig, 2));
	EXPECT_EQ(2 * sizeof(events[0]),
		  take(self->rig.event_fd, events, sizeof(events)));
}

TEST_F(nested, read_takes_whole_events)
{
	struct event events[2];

	ASSERT_EQ(0, triggers(&self->rig, 2));
	EXPECT_EQ(sizeof(events[0]),
		  take(self->rig.event_fd, events, sizeof(events) - 1));
	EXPECT_EQ(sizeof(events[0]),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_TRUE(is_event(&events[0], 1));
}

TEST_F(nested, read_of_nothing_is_0)
{
	struct event event;

	EXPECT_EQ(0, take(self->rig.event_fd, &event, sizeof(event)));
	ASSERT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
	EXPECT_EQ(0, take(self->rig.event_fd, &event, sizeof(event)));
}

TEST_F(nested, read_of_nothing_is_0_with_O_NONBLOCK)
{
	struct event event;

	ASSERT_EQ(0, fcntl(self->rig.event_fd, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(0, take(self->rig.event_fd, &event, sizeof(event)));
}

TEST_F(nested, buffer_shorter_than_a_header_EINVAL)
{
	struct event event;
	size_t len;

	for (len = 0; len < sizeof(event.header); len++) {
		EXPECT_EQ(-EINVAL, take(self->rig.event_fd, &event, len));
		ASSERT_EQ(0, trigger(&self->rig));
		EXPECT_EQ(-EINVAL, take(self->rig.event_fd, &event, len));
		EXPECT_EQ(sizeof(event),
			  take(self->rig.event_fd, &event, sizeof(event)));
	}
}

TEST_F(nested, buffer_shorter_than_the_event_EINVAL)
{
	struct event event;
	size_t len;

	ASSERT_EQ(0, trigger(&self->rig));
	for (len = sizeof(event.header); len < sizeof(event); len++)
		EXPECT_EQ(-EINVAL, take(self->rig.event_fd, &event, len));
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
	EXPECT_TRUE(is_event(&event, 0));
}

TEST_F(nested, read_EFAULT_keeps_the_event)
{
	void *end = two_pages() + PAGE_SIZE;
	struct event events[DEPTH];
	int i;

	/* One more than faults: events that change places would show */
	ASSERT_EQ(0, triggers(&self->rig, DEPTH));
	/* All, half the header or the event is out of reach */
	EXPECT_EQ(-EFAULT, take(self->rig.event_fd, end, sizeof(events)));
	EXPECT_EQ(-EFAULT, take(self->rig.event_fd, end - 4, sizeof(events)));
	EXPECT_EQ(-EFAULT,
		  take(self->rig.event_fd, end - sizeof(events[0].header),
		       sizeof(events)));

	EXPECT_EQ(sizeof(events),
		  take(self->rig.event_fd, events, sizeof(events)));
	for (i = 0; i < DEPTH; i++)
		EXPECT_TRUE(is_event(&events[i], i));
}

TEST_F(nested, read_fault_after_an_event_is_a_short_read)
{
	void *end = two_pages() + PAGE_SIZE;
	struct event *first, second;

	first = end - sizeof(*first);
	ASSERT_EQ(0, triggers(&self->rig, 2));
	EXPECT_EQ(sizeof(*first),
		  take(self->rig.event_fd, first, 2 * sizeof(*first)));
	EXPECT_TRUE(is_event(first, 0));
	EXPECT_EQ(sizeof(second),
		  take(self->rig.event_fd, &second, sizeof(second)));
	EXPECT_TRUE(is_event(&second, 1));
}

TEST_F(nested, read_EFAULT_does_not_count_twice)
{
	void *end = two_pages() + PAGE_SIZE;
	struct event events[DEPTH + 1];
	int i;

	ASSERT_EQ(0, trigger(&self->rig));
	for (i = 0; i < 2 * DEPTH; i++)
		EXPECT_EQ(-EFAULT,
			  take(self->rig.event_fd, end, sizeof(events[0])));
	ASSERT_EQ(0, triggers(&self->rig, DEPTH - 1));
	EXPECT_EQ(DEPTH * sizeof(events[0]),
		  take(self->rig.event_fd, events, sizeof(events)));
}

TEST_F(nested, pread_ESPIPE)
{
	struct event event;

	ASSERT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(-1, pread(self->rig.event_fd, &event, sizeof(event), 0));
	EXPECT_EQ(ESPIPE, errno);
	EXPECT_EQ(-1, pread(self->rig.event_fd, &event, sizeof(event), 8));
	EXPECT_EQ(ESPIPE, errno);
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
}

TEST_F(nested, write_EINVAL)
{
	struct event event = {};

	EXPECT_EQ(-1, write(self->rig.event_fd, &event, sizeof(event)));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(nested, poll_tells_of_events)
{
	struct event event;

	EXPECT_EQ(0, ready(self->rig.event_fd));
	ASSERT_EQ(0, triggers(&self->rig, 2));
	EXPECT_EQ(POLLIN | POLLRDNORM, ready(self->rig.event_fd));
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
	EXPECT_EQ(POLLIN | POLLRDNORM, ready(self->rig.event_fd));
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
	EXPECT_EQ(0, ready(self->rig.event_fd));
}

TEST_F(nested, poll_tells_of_lost_events)
{
	struct event events[DEPTH];
	struct iommufd_vevent_header lost;

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 1));
	EXPECT_EQ(sizeof(events),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_EQ(POLLIN | POLLRDNORM, ready(self->rig.event_fd));
	EXPECT_EQ(sizeof(lost), take(self->rig.event_fd, &lost, sizeof(lost)));
	EXPECT_EQ(0, ready(self->rig.event_fd));
}

TEST_F(nested, select_tells_of_events)
{
	struct timeval now = {};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(self->rig.event_fd, &set);
	EXPECT_EQ(0, select(self->rig.event_fd + 1, &set, NULL, NULL, &now));
	ASSERT_EQ(0, trigger(&self->rig));
	FD_SET(self->rig.event_fd, &set);
	EXPECT_EQ(1, select(self->rig.event_fd + 1, &set, NULL, NULL, &now));
}

static void *poll_until_ready(void *arg)
{
	struct pollfd pollfd = { .fd = *(int *)arg, .events = POLLIN };

	return (void *)(long)poll(&pollfd, 1, -1);
}

TEST_F(nested, event_wakes_a_poller)
{
	struct event event;
	pthread_t poller;
	void *rc;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, pthread_create(&poller, NULL, poll_until_ready,
					    &self->rig.event_fd));
		ASSERT_EQ(0, trigger(&self->rig));
		ASSERT_EQ(0, pthread_join(poller, &rc));
		EXPECT_EQ(1, (long)rc);
		EXPECT_EQ(sizeof(event),
			  take(self->rig.event_fd, &event, sizeof(event)));
	}
}

TEST_F(nested, overflow_keeps_the_first_events)
{
	struct {
		struct event events[DEPTH];
		struct iommufd_vevent_header lost;
		char more;
	} all;
	int i;

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 3));
	EXPECT_EQ(offsetof(typeof(all), more),
		  take(self->rig.event_fd, &all, sizeof(all)));
	for (i = 0; i < DEPTH; i++)
		EXPECT_TRUE(is_event(&all.events[i], i));
	EXPECT_TRUE(is_lost(&all.lost, DEPTH + 2));
}

TEST_F(nested, queue_of_depth_1)
{
	struct rig *rig = &self->rig;
	struct {
		struct event event;
		struct iommufd_vevent_header lost;
	} all;

	ASSERT_EQ(0, close(rig->event_fd));
	ASSERT_EQ(0, destroy(rig->fd, rig->veventq));
	ASSERT_EQ(0, veventq_alloc(rig, 1, &rig->veventq, &rig->event_fd));

	ASSERT_EQ(0, triggers(rig, 2));
	EXPECT_EQ(sizeof(all), take(rig->event_fd, &all, sizeof(all)));
	EXPECT_TRUE(is_event(&all.event, 0));
	EXPECT_TRUE(is_lost(&all.lost, 1));
}

TEST_F(nested, lost_header_comes_once)
{
	struct event events[DEPTH + 1];

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 1));
	EXPECT_EQ(DEPTH * sizeof(events[0]) + sizeof(events[0].header),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_EQ(0, take(self->rig.event_fd, events, sizeof(events)));
}

TEST_F(nested, lost_header_comes_after_all_events)
{
	struct iommufd_vevent_header lost;
	struct event event;
	int i;

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 1));
	for (i = 0; i < DEPTH; i++) {
		EXPECT_EQ(sizeof(event),
			  take(self->rig.event_fd, &event, sizeof(event)));
		EXPECT_TRUE(is_event(&event, i));
	}
	EXPECT_EQ(sizeof(lost), take(self->rig.event_fd, &lost, sizeof(lost)));
	EXPECT_TRUE(is_lost(&lost, DEPTH));
}

TEST_F(nested, lost_header_vanishes_with_the_next_event)
{
	struct event events[DEPTH + 1];

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 2));
	EXPECT_EQ(sizeof(events[0]),
		  take(self->rig.event_fd, events, sizeof(events[0])));
	ASSERT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(DEPTH * sizeof(events[0]),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_TRUE(is_event(&events[DEPTH - 2], DEPTH - 1));
	/* Only the gap tells */
	EXPECT_TRUE(is_event(&events[DEPTH - 1], DEPTH + 2));
}

TEST_F(nested, lost_header_moves_with_the_next_loss)
{
	struct iommufd_vevent_header lost;
	struct event events[DEPTH];

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 1));
	ASSERT_EQ(0, triggers(&self->rig, 5));
	EXPECT_EQ(sizeof(events),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_EQ(sizeof(lost), take(self->rig.event_fd, &lost, sizeof(lost)));
	EXPECT_TRUE(is_lost(&lost, DEPTH + 5));
	EXPECT_EQ(0, take(self->rig.event_fd, &lost, sizeof(lost)));
}

TEST_F(nested, lost_header_comes_again_after_another_loss)
{
	struct event events[DEPTH + 1];
	__u32 i;

	/* An event counts as long as it is in the queue, a header never */
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, triggers(&self->rig, DEPTH + 1));
		EXPECT_EQ(DEPTH * sizeof(events[0]) + sizeof(events[0].header),
			  take(self->rig.event_fd, events, sizeof(events)));
		EXPECT_TRUE(is_event(&events[0], i * (DEPTH + 1)));
		EXPECT_TRUE(is_lost(&events[DEPTH].header,
				    i * (DEPTH + 1) + DEPTH));
	}
}

TEST_F(nested, lost_header_takes_no_place_of_the_queue)
{
	struct event events[DEPTH + 1];

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 1));
	EXPECT_EQ(DEPTH * sizeof(events[0]),
		  take(self->rig.event_fd, events, DEPTH * sizeof(events[0])));
	/* Nobody has read the header */
	ASSERT_EQ(0, triggers(&self->rig, DEPTH));
	EXPECT_EQ(DEPTH * sizeof(events[0]),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_TRUE(is_event(&events[DEPTH - 1], 2 * DEPTH));
}

TEST_F(nested, lost_header_waits_for_the_next_read)
{
	struct event events[DEPTH + 1];
	size_t len = DEPTH * sizeof(events[0]);

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 1));
	EXPECT_EQ(len, take(self->rig.event_fd, events,
			    len + sizeof(events[0].header) - 1));
	EXPECT_EQ(sizeof(events[0].header),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_TRUE(is_lost(&events[0].header, DEPTH));
}

TEST_F(nested, lost_header_survives_short_buffers)
{
	struct event events[DEPTH + 1];

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 1));
	EXPECT_EQ(-EINVAL, take(self->rig.event_fd, events,
				sizeof(events[0].header)));
	EXPECT_EQ(DEPTH * sizeof(events[0]) + sizeof(events[0].header),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_EQ(0, take(self->rig.event_fd, events, sizeof(events)));
}

TEST_F(nested, lost_header_can_be_read_again_after_EFAULT)
{
	void *end = two_pages() + PAGE_SIZE;
	struct iommufd_vevent_header lost;
	struct event events[DEPTH];

	ASSERT_EQ(0, triggers(&self->rig, DEPTH + 1));
	EXPECT_EQ(sizeof(events),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_EQ(-EFAULT, take(self->rig.event_fd, end, sizeof(lost)));
	EXPECT_EQ(POLLIN | POLLRDNORM, ready(self->rig.event_fd));
	EXPECT_EQ(sizeof(lost), take(self->rig.event_fd, &lost, sizeof(lost)));
	EXPECT_TRUE(is_lost(&lost, DEPTH));
}

TEST_F(nested, event_without_a_queue_of_its_type)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(&self->rig, DEPTH);

	ASSERT_EQ(0, close(self->rig.event_fd));
	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.veventq));
	EXPECT_EQ(-EOPNOTSUPP, trigger(&self->rig));
	cmd.type = IOMMU_VEVENTQ_TYPE_ARM_SMMUV3;
	ASSERT_EQ(0, call(self->rig.fd, IOMMU_VEVENTQ_ALLOC, &cmd));
	EXPECT_EQ(-EOPNOTSUPP, trigger(&self->rig));
	EXPECT_EQ(0, ready(cmd.out_veventq_fd));
	self->rig.event_fd = cmd.out_veventq_fd;
}

TEST_F(nested, event_of_a_detached_device_is_nobodys)
{
	ASSERT_EQ(0, attach(&self->rig, self->rig.parent));
	EXPECT_EQ(-ENOENT, trigger(&self->rig));
	EXPECT_EQ(0, ready(self->rig.event_fd));
	ASSERT_EQ(0, attach(&self->rig, self->rig.nested));
	EXPECT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(POLLIN | POLLRDNORM, ready(self->rig.event_fd));
}

TEST_F(nested, event_after_the_vdevice_has_its_virtual_id)
{
	struct event event;

	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.vdevice));
	ASSERT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
	EXPECT_TRUE(is_event(&event, 0));
}

TEST_F(nested, new_queue_starts_at_0)
{
	struct rig *rig = &self->rig;
	struct event event;

	ASSERT_EQ(0, triggers(rig, DEPTH + 1));
	ASSERT_EQ(0, close(rig->event_fd));
	ASSERT_EQ(0, destroy(rig->fd, rig->veventq));
	ASSERT_EQ(0, veventq_alloc(rig, DEPTH, &rig->veventq, &rig->event_fd));
	EXPECT_EQ(0, take(rig->event_fd, &event, sizeof(event)));
	ASSERT_EQ(0, trigger(rig));
	EXPECT_EQ(sizeof(event), take(rig->event_fd, &event, sizeof(event)));
	EXPECT_TRUE(is_event(&event, 0));
}

/*
 * IOMMU_HWPT_INVALIDATE on a vIOMMU.
 */

/* Which caches of a device are still as they were, a bit for each; -1: odd */
static int caches(const struct rig *rig, __u32 device)
{
	int valid = 0;
	int i;

	for (i = 0; i < MOCK_DEV_CACHE_NUM; i++) {
		if (!check_cache(rig, device, i, IOMMU_TEST_DEV_CACHE_DEFAULT))
			valid |= 1 << i;
		else if (check_cache(rig, device, i, 0))
			return -1;
	}
	return valid;
}

#define ALL_CACHES ((1 << MOCK_DEV_CACHE_NUM) - 1)

TEST_F(nested, caches_are_valid_at_first)
{
	EXPECT_EQ(ALL_CACHES, caches(&self->rig, self->rig.device));
}

TEST_F(nested, invalidate_one_cache)
{
	struct iommu_viommu_invalidate_selftest entry = {
		.vdev_id = VIRT_ID,
		.cache_id = 2,
	};
	struct iommu_hwpt_invalidate cmd =
		invalidate_cmd(&self->rig, &entry, 1);

	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(1, cmd.entry_num);
	EXPECT_EQ(ALL_CACHES & ~(1 << 2),
		  caches(&self->rig, self->rig.device));
}

TEST_F(nested, invalidate_all_caches_of_one_device)
{
	struct iommu_viommu_invalidate_selftest entry = {
		.flags = IOMMU_TEST_INVALIDATE_FLAG_ALL,
		.vdev_id = VIRT_ID,
	};
	struct iommu_hwpt_invalidate cmd =
		invalidate_cmd(&self->rig, &entry, 1);
	struct rig other = self->rig;

	ASSERT_EQ(0, mock_device(&other, &other.stdev, &other.device));
	ASSERT_EQ(0, vdevice_alloc(&other, VIRT_ID + 1, &other.vdevice));
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(1, cmd.entry_num);
	EXPECT_EQ(0, caches(&self->rig, self->rig.device));
	EXPECT_EQ(ALL_CACHES, caches(&self->rig, other.device));
}

TEST_F(nested, invalidate_for_several_devices)
{
	struct iommu_viommu_invalidate_selftest entries[] = {
		{ .vdev_id = VIRT_ID, .cache_id = 0 },
		{ .vdev_id = VIRT_ID + 1, .cache_id = 1 },
		{ .vdev_id = VIRT_ID, .cache_id = 3 },
	};
	struct iommu_hwpt_invalidate cmd =
		invalidate_cmd(&self->rig, entries, ARRAY_SIZE(entries));
	struct rig other = self->rig;

	ASSERT_EQ(0, mock_device(&other, &other.stdev, &other.device));
	ASSERT_EQ(0, vdevice_alloc(&other, VIRT_ID + 1, &other.vdevice));
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(ARRAY_SIZE(entries), cmd.entry_num);
	EXPECT_EQ(ALL_CACHES & ~9, caches(&self->rig, self->rig.device));
	EXPECT_EQ(ALL_CACHES & ~2, caches(&self->rig, other.device));
}

TEST_F(nested, invalidate_goes_to_the_devices_of_this_viommu)
{
	struct iommu_viommu_invalidate_selftest entry = {
		.flags = IOMMU_TEST_INVALIDATE_FLAG_ALL,
		.vdev_id = VIRT_ID,
	};
	struct iommu_hwpt_invalidate cmd =
		invalidate_cmd(&self->rig, &entry, 1);
	struct rig other = self->rig;

	ASSERT_EQ(0, mock_device(&other, &other.stdev, &other.device));
	ASSERT_EQ(0, viommu_alloc(&other, &other.viommu));
	ASSERT_EQ(0, vdevice_alloc(&other, VIRT_ID, &other.vdevice));
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(0, caches(&self->rig, self->rig.device));
	EXPECT_EQ(ALL_CACHES, caches(&self->rig, other.device));
}

TEST_F(nested, invalidate_nothing)
{
	struct iommu_hwpt_invalidate cmd =
		invalidate_cmd(&self->rig, NULL, 0);

	cmd.entry_len = 0;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(0, cmd.entry_num);
	cmd.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID;
	EXPECT_REFUSED(EINVAL, IOMMU_HWPT_INVALIDATE, &cmd);
}

TEST_F(nested, invalidate_after_the_vdevice_EINVAL)
{
	struct iommu_viommu_invalidate_selftest entry = { .vdev_id = VIRT_ID };
	struct iommu_hwpt_invalidate cmd =
		invalidate_cmd(&self->rig, &entry, 1);

	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.vdevice));
	EXPECT_REFUSED(EINVAL, IOMMU_HWPT_INVALIDATE, &cmd);
	EXPECT_EQ(0, cmd.entry_num);
	EXPECT_EQ(ALL_CACHES, caches(&self->rig, self->rig.device));
}

TEST_F(nested, invalidate_as_many_as_allowed)
{
	struct iommu_viommu_invalidate_selftest *entries =
		calloc(MAX_ENTRIES, sizeof(*entries));
	struct iommu_hwpt_invalidate cmd =
		invalidate_cmd(&self->rig, entries, MAX_ENTRIES);
	int i;

	ASSERT_NE(NULL, entries);
	for (i = 0; i < MAX_ENTRIES; i++)
		entries[i].vdev_id = VIRT_ID;
	entries[MAX_ENTRIES - 1].cache_id = 3;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(MAX_ENTRIES, cmd.entry_num);
	EXPECT_EQ(6, caches(&self->rig, self->rig.device));
	free(entries);
}

/* Nothing is done of a bad array, and entry_num says so */
#define EXPECT_BAD_ARRAY(_errno, _field, _value)                           \
	do {                                                               \
		struct iommu_viommu_invalidate_selftest entry = {          \
			.vdev_id = VIRT_ID,                                \
		};                                                         \
		struct iommu_hwpt_invalidate cmd =                         \
			invalidate_cmd(&self->rig, &entry, 1);             \
									   \
		cmd._field = _value;                                       \
		EXPECT_REFUSED(_errno, IOMMU_HWPT_INVALIDATE, &cmd);       \
		EXPECT_EQ(0, cmd.entry_num);                               \
		EXPECT_EQ(ALL_CACHES,                                      \
			  caches(&self->rig, self->rig.device));           \
	} while (0)

TEST_F(nested, invalidate_another_type_EINVAL)
{
	EXPECT_BAD_ARRAY(EINVAL, data_type,
			 IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID);
	EXPECT_BAD_ARRAY(EINVAL, data_type,
			 IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3);
}

TEST_F(nested, invalidate_length_of_entries_EINVAL)
{
	size_t len = sizeof(struct iommu_viommu_invalidate_selftest);

	EXPECT_BAD_ARRAY(EINVAL, entry_len, 0);
	EXPECT_BAD_ARRAY(EINVAL, entry_len, 1);
	EXPECT_BAD_ARRAY(EINVAL, entry_len, len - 1);
	EXPECT_BAD_ARRAY(EINVAL, entry_len, len + 1);
	EXPECT_BAD_ARRAY(EINVAL, entry_len, PAGE_SIZE + 1);
}

TEST_F(nested, invalidate_too_many_EINVAL)
{
	EXPECT_BAD_ARRAY(EINVAL, entry_num, MAX_ENTRIES + 1);
	EXPECT_BAD_ARRAY(EINVAL, entry_num, ~0U);
}

TEST_F(nested, invalidate_without_data_EINVAL)
{
	EXPECT_BAD_ARRAY(EINVAL, data_uptr, 0);
}

TEST_F(nested, invalidate_data_not_mapped_EFAULT)
{
	EXPECT_BAD_ARRAY(EFAULT, data_uptr,
			 (uintptr_t)two_pages() + PAGE_SIZE);
}

TEST_F(nested, invalidate_reserved_EOPNOTSUPP)
{
	EXPECT_BAD_ARRAY(EOPNOTSUPP, __reserved, 1);
}

TEST_F(nested, invalidate_unknown_object_ENOENT)
{
	EXPECT_BAD_ARRAY(ENOENT, hwpt_id, NO_ID);
}

TEST_F(nested, invalidate_hwpt_that_is_not_nested_ENOENT)
{
	EXPECT_BAD_ARRAY(ENOENT, hwpt_id, self->rig.parent);
}

TEST_F(nested, invalidate_other_objects_EINVAL)
{
	EXPECT_BAD_ARRAY(EINVAL, hwpt_id, self->rig.ioas);
	EXPECT_BAD_ARRAY(EINVAL, hwpt_id, self->rig.device);
	EXPECT_BAD_ARRAY(EINVAL, hwpt_id, self->rig.vdevice);
	EXPECT_BAD_ARRAY(EINVAL, hwpt_id, self->rig.veventq);
}

TEST_F(nested, invalidate_the_hwpt_itself)
{
	struct iommu_hwpt_invalidate_selftest entry = { .iotlb_id = 1 };
	struct iommu_hwpt_invalidate cmd = invalidate_cmd(&self->rig, NULL, 1);
	struct iommu_test_cmd check = {
		.size = sizeof(check),
		.op = IOMMU_TEST_OP_MD_CHECK_IOTLB,
		.id = self->rig.nested,
		.check_iotlb = { .id = 1, .iotlb = 0 },
	};

	cmd.hwpt_id = self->rig.nested;
	cmd.data_type = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
	cmd.data_uptr = (uintptr_t)&entry;
	cmd.entry_len = sizeof(entry);
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(0, call(self->rig.fd,
			  _IOMMU_TEST_CMD(IOMMU_TEST_OP_MD_CHECK_IOTLB),
			  &check));
	EXPECT_EQ(ALL_CACHES, caches(&self->rig, self->rig.device));
}

/* A bad entry among good ones, each for a cache of its own */

FIXTURE(bad_entry)
{
	struct rig rig;
};

FIXTURE_VARIANT(bad_entry)
{
	const struct iommu_viommu_invalidate_selftest *entry;
	int error;
};

FIXTURE_VARIANT_ADD(bad_entry, unknown_flag)
{
	.entry = &(struct iommu_viommu_invalidate_selftest){
		.flags = 2,
		.vdev_id = VIRT_ID,
	},
	.error = -EOPNOTSUPP,
};

FIXTURE_VARIANT_ADD(bad_entry, unknown_device)
{
	.entry = &(struct iommu_viommu_invalidate_selftest){
		.vdev_id = VIRT_ID + 1,
	},
	.error = -EINVAL,
};

FIXTURE_VARIANT_ADD(bad_entry, unknown_cache)
{
	.entry = &(struct iommu_viommu_invalidate_selftest){
		.vdev_id = VIRT_ID,
		.cache_id = MOCK_DEV_CACHE_NUM,
	},
	.error = -EINVAL,
};

FIXTURE_VARIANT_ADD(bad_entry, not_mapped)
{
	.error = -EFAULT,
};

FIXTURE_SETUP(bad_entry)
{
	ASSERT_EQ(0, rig_open(&self->rig));
	ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID, &self->rig.vdevice));
}

FIXTURE_TEARDOWN(bad_entry)
{
	check_gone(_metadata, &self->rig);
}

/* Without an entry, what is bad is that memory ends there */
static void check_bad_entry(struct __test_metadata *_metadata,
			    const struct rig *rig,
			    const struct iommu_viommu_invalidate_selftest *entry,
			    int bad, int error)
{
	struct iommu_viommu_invalidate_selftest *entries = two_pages();
	struct iommu_hwpt_invalidate cmd;
	int i;

	if (!entry)
		entries = (void *)entries + PAGE_SIZE - bad * sizeof(*entries);
	for (i = 0; i < (entry ? MOCK_DEV_CACHE_NUM : bad); i++) {
		entries[i].vdev_id = VIRT_ID;
		entries[i].cache_id = i;
	}
	if (entry)
		entries[bad] = *entry;

	cmd = invalidate_cmd(rig, entries, MOCK_DEV_CACHE_NUM);
	EXPECT_EQ(error, refused(rig->fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(bad, cmd.entry_num);
	EXPECT_EQ(ALL_CACHES & ~((1 << bad) - 1), caches(rig, rig->device));
}

TEST_F(bad_entry, first_none_are_done)
{
	check_bad_entry(_metadata, &self->rig, variant->entry, 0,
			variant->error);
}

TEST_F(bad_entry, middle_those_before_are_done)
{
	check_bad_entry(_metadata, &self->rig, variant->entry, 2,
			variant->error);
}

TEST_F(bad_entry, last_all_others_are_done)
{
	check_bad_entry(_metadata, &self->rig, variant->entry,
			MOCK_DEV_CACHE_NUM - 1, variant->error);
}

/*
 * Life times: what holds what, and who goes first.
 */

enum { PARENT, VIOMMU, NESTED, VDEVICE, VEVENTQ, STDEV, NUM_OBJECTS };

/* Those that are left, a bit for each, tell whether DESTROY may succeed */
static int expected_destroy(int object, int left)
{
	if (!(left & (1 << object)))
		return -ENOENT;
	switch (object) {
	case PARENT:
		return left & (1 << VIOMMU) ? -EBUSY : 0;
	case VIOMMU:
		return left & (1 << NESTED | 1 << VDEVICE | 1 << VEVENTQ) ?
			       -EBUSY : 0;
	case NESTED:
		/* The device is attached */
		return left & (1 << STDEV) ? -EBUSY : 0;
	default:
		return 0;
	}
}

/* Try to destroy all in this order, again and again until nothing is left */
static int destroy_in_order(const struct rig *rig, const int *order)
{
	const __u32 ids[NUM_OBJECTS] = {
		rig->parent,  rig->viommu,  rig->nested,
		rig->vdevice, rig->veventq, rig->stdev,
	};
	int left = (1 << NUM_OBJECTS) - 1;
	int i, rc;

	while (left) {
		for (i = 0; i < NUM_OBJECTS; i++) {
			rc = destroy(rig->fd, ids[order[i]]);
			if (rc != expected_destroy(order[i], left))
				return -1;
			if (rc)
				continue;
			left &= ~(1 << order[i]);
			/* The vDEVICE goes with its device */
			if (order[i] == STDEV)
				left &= ~(1 << VDEVICE);
		}
	}
	return destroy(rig->fd, rig->ioas);
}

/* The n-th of all orders */
static void make_order(int n, int *order)
{
	bool used[NUM_OBJECTS] = {};
	int i, pick, skip;

	for (i = 0; i < NUM_OBJECTS; i++) {
		skip = n % (NUM_OBJECTS - i);
		n /= NUM_OBJECTS - i;
		for (pick = 0; used[pick] || skip; pick++)
			skip -= !used[pick];
		used[pick] = true;
		order[i] = pick;
	}
}

TEST_F_TIMEOUT(nested, destroy_in_every_order, 300)
{
	const int orders = 6 * 5 * 4 * 3 * 2;
	int order[NUM_OBJECTS];
	struct rig rig;
	int i;

	for (i = 0; i < orders; i++) {
		ASSERT_EQ(0, rig_open(&rig));
		ASSERT_EQ(0, rig_nest(&rig, DEPTH));
		ASSERT_EQ(0, trigger(&rig));
		ASSERT_EQ(0, close(rig.event_fd));
		rig.event_fd = -1;
		make_order(i, order);
		ASSERT_EQ(0, destroy_in_order(&rig, order))
			TH_LOG("order: %d %d %d %d %d %d", order[0], order[1],
			       order[2], order[3], order[4], order[5]);
		rig_close(&rig);
		ASSERT_EQ(rig.mock_devices, mock_devices());
	}
}

TEST_F(nested, veventq_is_busy_until_its_file_is_closed)
{
	int copy = dup(self->rig.event_fd);

	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.veventq));
	EXPECT_EQ(0, close(self->rig.event_fd));
	self->rig.event_fd = copy;
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.veventq));
	EXPECT_EQ(0, close(copy));
	self->rig.event_fd = -1;
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.veventq));
	EXPECT_EQ(-ENOENT, destroy(self->rig.fd, self->rig.veventq));
}

TEST_F(nested, busy_objects_work_as_before)
{
	struct iommu_viommu_invalidate_selftest entry = { .vdev_id = VIRT_ID };
	struct iommu_hwpt_invalidate cmd =
		invalidate_cmd(&self->rig, &entry, 1);
	struct event event;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.viommu));
		ASSERT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.nested));
		ASSERT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.veventq));
	}
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HWPT_INVALIDATE, &cmd));
	EXPECT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
}

TEST_F(nested, close_iommufd_first)
{
	struct event event;

	ASSERT_EQ(0, triggers(&self->rig, 2));
	ASSERT_EQ(0, close(self->rig.fd));
	self->rig.fd = -1;

	/* The file of the events keeps all alive */
	EXPECT_EQ(self->rig.mock_devices + 1, mock_devices());
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
	EXPECT_TRUE(is_event(&event, 0));
	EXPECT_EQ(POLLIN | POLLRDNORM, ready(self->rig.event_fd));
}

TEST_F(nested, close_veventq_first)
{
	ASSERT_EQ(0, triggers(&self->rig, 2));
	ASSERT_EQ(0, close(self->rig.event_fd));
	self->rig.event_fd = -1;
	/* Nobody can read it, but it is there */
	EXPECT_EQ(0, triggers(&self->rig, DEPTH));
}

/* Start a process that has all objects, and runs until it is killed */
static pid_t start_owner(struct rig *rig, int pipe_fds[2])
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (!rig_open(rig) && !rig_nest(rig, DEPTH) &&
	    !triggers(rig, DEPTH + 1) && write(pipe_fds[1], "", 1) == 1)
		pause();
	_exit(1);
}

TEST_F(viommu, killed_process_leaves_nothing)
{
	int before = mock_devices();
	int pipe_fds[2];
	struct rig rig;
	int status;
	pid_t pid;
	char byte;

	ASSERT_EQ(0, pipe(pipe_fds));
	pid = start_owner(&rig, pipe_fds);
	ASSERT_LT(0, pid);
	ASSERT_EQ(1, read(pipe_fds[0], &byte, 1));
	EXPECT_EQ(before + 1, mock_devices());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(before, mock_devices());
}

/* In a child that has the files of its parent: all works, also the end */
static bool inherited_all(const struct rig *rig)
{
	struct event event;

	return !trigger(rig) &&
	       take(rig->event_fd, &event, sizeof(event)) == sizeof(event) &&
	       is_event(&event, 0) && !close(rig->event_fd) &&
	       !destroy(rig->fd, rig->veventq) &&
	       !destroy(rig->fd, rig->stdev) &&
	       !destroy(rig->fd, rig->nested) &&
	       !destroy(rig->fd, rig->viommu);
}

TEST_F(nested, child_inherits_what_its_parent_closes)
{
	int pipe_fds[2];
	int status;
	pid_t pid;
	char byte;

	ASSERT_EQ(0, pipe(pipe_fds));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		bool ok = read(pipe_fds[0], &byte, 1) == 1 &&
			  inherited_all(&self->rig);

		_exit(ok ? 0 : 1);
	}
	rig_close(&self->rig);
	EXPECT_EQ(self->rig.mock_devices + 1, mock_devices());
	ASSERT_EQ(1, write(pipe_fds[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
}

TEST_F(nested, exit_of_a_child_takes_nothing)
{
	struct event event;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(sizeof(event),
		  take(self->rig.event_fd, &event, sizeof(event)));
}

TEST_F(nested, device_gone_first_takes_its_vdevice)
{
	struct rig *rig = &self->rig;

	ASSERT_EQ(0, destroy(rig->fd, rig->stdev));
	EXPECT_EQ(-ENOENT, destroy(rig->fd, rig->vdevice));
	EXPECT_EQ(0, destroy(rig->fd, rig->nested));
	EXPECT_EQ(0, close(rig->event_fd));
	rig->event_fd = -1;
	EXPECT_EQ(0, destroy(rig->fd, rig->veventq));
	EXPECT_EQ(0, destroy(rig->fd, rig->viommu));
}

TEST_F(nested, device_gone_first_leaves_a_tombstone)
{
	__u32 id;
	int i;

	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.stdev));
	for (i = 0; i < 64; i++) {
		ASSERT_EQ(0, _test_ioctl_ioas_alloc(self->rig.fd, &id));
		EXPECT_NE(self->rig.vdevice, id);
	}
	EXPECT_EQ(-ENOENT, destroy(self->rig.fd, self->rig.vdevice));
}

TEST_F(nested, device_gone_first_frees_its_virtual_id)
{
	struct iommu_viommu_invalidate_selftest entry = { .vdev_id = VIRT_ID };
	struct iommu_hwpt_invalidate cmd =
		invalidate_cmd(&self->rig, &entry, 1);
	struct rig *rig = &self->rig;

	ASSERT_EQ(0, destroy(rig->fd, rig->stdev));
	EXPECT_REFUSED(EINVAL, IOMMU_HWPT_INVALIDATE, &cmd);
	ASSERT_EQ(0, mock_device(rig, &rig->stdev, &rig->device));
	EXPECT_EQ(0, vdevice_alloc(rig, VIRT_ID, &rig->vdevice));
	EXPECT_EQ(0, attach(rig, rig->nested));
}

TEST_F(nested, device_gone_first_leaves_its_events)
{
	struct event events[DEPTH + 1];

	ASSERT_EQ(0, triggers(&self->rig, 2));
	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.stdev));
	EXPECT_EQ(2 * sizeof(events[0]),
		  take(self->rig.event_fd, events, sizeof(events)));
	EXPECT_TRUE(is_event(&events[1], 1));
}

TEST_F(nested, devices_come_and_go)
{
	struct rig *rig = &self->rig;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, destroy(rig->fd, rig->stdev));
		ASSERT_EQ(0, mock_device(rig, &rig->stdev, &rig->device));
		ASSERT_EQ(0, vdevice_alloc(rig, VIRT_ID, &rig->vdevice));
		ASSERT_EQ(0, attach(rig, rig->nested));
	}
}

/*
 * Races: two threads, and whoever wins, the other one gets a proper error.
 */

#define THREADS 2

struct race {
	const struct rig *rig;
	pthread_barrier_t barrier;
	/* Set by the test to end its threads, and by these */
	int stop;
	int done;
	int wrong;
};

static bool stopped(struct race *race)
{
	return __atomic_load_n(&race->stop, __ATOMIC_ACQUIRE);
}

static void start(struct race *race, pthread_t *thread, void *(*fn)(void *))
{
	assert(!pthread_create(thread, NULL, fn, race));
}

/* A thread ends; -1 if it saw what it should not */
static int finish(struct race *race, pthread_t thread)
{
	__atomic_store_n(&race->stop, 1, __ATOMIC_RELEASE);
	assert(!pthread_join(thread, NULL));
	return race->wrong ? -1 : 0;
}

/* Wait until the threads have done something */
static void wait_for(struct race *race, int num)
{
	while (__atomic_load_n(&race->done, __ATOMIC_ACQUIRE) < num)
		sched_yield();
}

static void count(struct race *race, bool right)
{
	__atomic_add_fetch(right ? &race->done : &race->wrong, 1,
			   __ATOMIC_ACQ_REL);
}

static void *make_vdevices(void *arg)
{
	struct race *race = arg;
	__u32 id;
	int rc;

	for (;;) {
		rc = vdevice_alloc(race->rig, VIRT_ID, &id);
		if (rc == -ENOENT)
			return NULL;
		count(race, !rc || rc == -EEXIST);
		if (rc)
			continue;
		rc = destroy(race->rig->fd, id);
		count(race, !rc || rc == -ENOENT || rc == -EBUSY);
	}
}

TEST_F_TIMEOUT(viommu, race_of_vdevice_and_device, 120)
{
	struct rig *rig = &self->rig;
	pthread_t threads[THREADS];
	int i, j;

	for (i = 0; i < ROUNDS; i++) {
		struct race race = { .rig = rig };

		for (j = 0; j < THREADS; j++)
			start(&race, &threads[j], make_vdevices);
		/* At any point of what they do */
		wait_for(&race, 5 + i % 17);
		ASSERT_EQ(0, destroy(rig->fd, rig->stdev));
		for (j = 0; j < THREADS; j++)
			ASSERT_EQ(0, finish(&race, threads[j]));
		ASSERT_EQ(0, mock_device(rig, &rig->stdev, &rig->device));
	}
	/* No vDEVICE is left, and the virtual ID is free */
	EXPECT_EQ(0, vdevice_alloc(rig, VIRT_ID, &rig->vdevice));
	EXPECT_EQ(0, destroy(rig->fd, rig->vdevice));
	EXPECT_EQ(0, destroy(rig->fd, rig->viommu));
}

static void *make_one_vdevice(void *arg)
{
	struct race *race = arg;
	__u32 id;
	int rc;

	pthread_barrier_wait(&race->barrier);
	rc = vdevice_alloc(race->rig, VIRT_ID, &id);
	if (rc)
		count(race, rc == -EEXIST);
	return (void *)(long)(rc ? 0 : id);
}

static void *make_one_veventq(void *arg)
{
	struct race *race = arg;
	__u32 id;
	int fd, rc;

	pthread_barrier_wait(&race->barrier);
	rc = veventq_alloc(race->rig, DEPTH, &id, &fd);
	if (rc)
		count(race, rc == -EEXIST);
	else
		close(fd);
	return (void *)(long)(rc ? 0 : id);
}

/* Of two threads that make the same thing, one wins */
static int make_by_two(struct race *race, void *(*fn)(void *))
{
	void *ids[2];
	pthread_t thread;

	race->done = 0;
	assert(!pthread_barrier_init(&race->barrier, NULL, 2));
	start(race, &thread, fn);
	ids[0] = fn(race);
	assert(!pthread_join(thread, &ids[1]));
	pthread_barrier_destroy(&race->barrier);
	if (!ids[0] == !ids[1] || race->done != 1)
		return -1;
	return destroy(race->rig->fd, (long)(ids[0] ?: ids[1]));
}

TEST_F(viommu, race_of_two_vdevices)
{
	struct race race = { .rig = &self->rig };
	int rc = 0;
	int i;

	for (i = 0; i < ROUNDS && !rc; i++)
		rc = make_by_two(&race, make_one_vdevice);
	EXPECT_EQ(0, rc);
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

TEST_F(viommu, race_of_two_veventqs)
{
	struct race race = { .rig = &self->rig };
	int rc = 0;
	int i;

	for (i = 0; i < ROUNDS && !rc; i++)
		rc = make_by_two(&race, make_one_veventq);
	EXPECT_EQ(0, rc);
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

static void *destroy_vdevice(void *arg)
{
	struct race *race = arg;

	pthread_barrier_wait(&race->barrier);
	return (void *)(long)destroy(race->rig->fd, race->rig->vdevice);
}

TEST_F(viommu, race_of_two_destroys)
{
	struct race race = { .rig = &self->rig };
	pthread_t thread;
	long mine;
	void *theirs;
	int i;

	ASSERT_EQ(0, pthread_barrier_init(&race.barrier, NULL, 2));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, vdevice_alloc(&self->rig, VIRT_ID,
					   &self->rig.vdevice));
		start(&race, &thread, destroy_vdevice);
		mine = (long)destroy_vdevice(&race);
		ASSERT_EQ(0, pthread_join(thread, &theirs));
		ASSERT_EQ(-ENOENT, mine + (long)theirs);
	}
}

static void *close_veventq(void *arg)
{
	struct race *race = arg;

	pthread_barrier_wait(&race->barrier);
	close(race->rig->event_fd);
	return NULL;
}

TEST_F(nested, race_of_close_and_destroy)
{
	struct race race = { .rig = &self->rig };
	struct rig *rig = &self->rig;
	pthread_t thread;
	int i, rc;

	ASSERT_EQ(0, pthread_barrier_init(&race.barrier, NULL, 2));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, triggers(rig, 2));
		start(&race, &thread, close_veventq);
		pthread_barrier_wait(&race.barrier);
		do {
			rc = destroy(rig->fd, rig->veventq);
		} while (rc == -EBUSY);
		ASSERT_EQ(0, rc);
		ASSERT_EQ(0, pthread_join(thread, NULL));
		ASSERT_EQ(0, veventq_alloc(rig, DEPTH, &rig->veventq,
					   &rig->event_fd));
	}
}

#define MANY_EVENTS 1000

static void *trigger_many(void *arg)
{
	struct race *race = arg;

	if (triggers(race->rig, MANY_EVENTS))
		count(race, false);
	return NULL;
}

TEST_F_TIMEOUT(nested, race_of_reader_and_device_loses_no_number, 120)
{
	struct race race = { .rig = &self->rig };
	struct pollfd pollfd = { .fd = self->rig.event_fd, .events = POLLIN };
	struct event event;
	pthread_t thread;
	long last = -1;
	long now;
	ssize_t len;

	start(&race, &thread, trigger_many);
	while (last < MANY_EVENTS - 1) {
		ASSERT_EQ(1, poll(&pollfd, 1, -1));
		len = take(self->rig.event_fd, &event, sizeof(event));
		now = event.header.sequence;
		ASSERT_LT(last, now);
		ASSERT_TRUE(len == sizeof(event.header) ?
				    is_lost(&event.header, now) :
				    len == sizeof(event) &&
					    is_event(&event, now));
		last = now;
	}
	ASSERT_EQ(0, finish(&race, thread));
	EXPECT_EQ(0, take(self->rig.event_fd, &event, sizeof(event)));
}

static void *trigger_always(void *arg)
{
	struct race *race = arg;
	int rc;

	while (!stopped(race)) {
		rc = trigger(race->rig);
		/* No queue, or not attached */
		count(race, !rc || rc == -EOPNOTSUPP || rc == -ENOENT);
	}
	return NULL;
}

TEST_F(nested, race_of_events_and_their_queue)
{
	struct race race = { .rig = &self->rig };
	struct rig *rig = &self->rig;
	pthread_t thread;
	int i;

	start(&race, &thread, trigger_always);
	for (i = 0; i < ROUNDS; i++) {
		wait_for(&race, 3 * i);
		ASSERT_EQ(0, close(rig->event_fd));
		ASSERT_EQ(0, destroy(rig->fd, rig->veventq));
		ASSERT_EQ(0, veventq_alloc(rig, DEPTH, &rig->veventq,
					   &rig->event_fd));
	}
	EXPECT_EQ(0, finish(&race, thread));
}

TEST_F(nested, race_of_events_and_attach)
{
	struct race race = { .rig = &self->rig };
	struct rig *rig = &self->rig;
	pthread_t thread;
	int i;

	start(&race, &thread, trigger_always);
	for (i = 0; i < ROUNDS; i++) {
		wait_for(&race, 3 * i);
		ASSERT_EQ(0, attach(rig, rig->parent));
		ASSERT_EQ(0, destroy(rig->fd, rig->nested));
		ASSERT_EQ(0, nested_alloc(rig, &rig->nested));
		ASSERT_EQ(0, attach(rig, rig->nested));
	}
	EXPECT_EQ(0, finish(&race, thread));
}

static void *invalidate_always(void *arg)
{
	struct iommu_viommu_invalidate_selftest entry = {
		.flags = IOMMU_TEST_INVALIDATE_FLAG_ALL,
		.vdev_id = VIRT_ID,
	};
	struct race *race = arg;
	struct iommu_hwpt_invalidate cmd;
	int rc;

	while (!stopped(race)) {
		cmd = invalidate_cmd(race->rig, &entry, 1);
		rc = call(race->rig->fd, IOMMU_HWPT_INVALIDATE, &cmd);
		count(race, rc ? rc == -EINVAL && !cmd.entry_num :
			    cmd.entry_num == 1);
	}
	return NULL;
}

TEST_F_TIMEOUT(nested, race_of_invalidation_and_device, 120)
{
	struct race race = { .rig = &self->rig };
	struct rig *rig = &self->rig;
	pthread_t thread;
	int i;

	start(&race, &thread, invalidate_always);
	for (i = 0; i < ROUNDS; i++) {
		wait_for(&race, 3 * i);
		ASSERT_EQ(0, destroy(rig->fd, i % 2 ? rig->vdevice :
						      rig->stdev));
		if (i % 2 == 0) {
			ASSERT_EQ(0, mock_device(rig, &rig->stdev,
						 &rig->device));
		}
		ASSERT_EQ(0, vdevice_alloc(rig, VIRT_ID, &rig->vdevice));
	}
	EXPECT_EQ(0, finish(&race, thread));
}

TEST_HARNESS_MAIN
