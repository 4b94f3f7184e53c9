// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_HW_QUEUE_ALLOC, IOMMU_IOAS_MAP_FILE, and IOMMU_VIOMMU_ALLOC with a page
 * to map, with their first allocation failing, then their second one, and so on
 * until none fails. Also the look-ups of objects and the pinning of pages fail:
 * iommufd has chances of its own.
 *
 * An ioctl that fails must leave nothing behind: no ID, no memory that is
 * mapped, pinned or locked, nothing that could be mapped.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include "iommufd_hw_queue_utils.h"
#include "iommufd_viommu_fail_nth.h"

/* More than any of these has; a limit in case that it never ends */
#define MOST_FAILURES 2000

union cmd {
	struct iommu_viommu_alloc viommu;
	struct iommu_hw_queue_alloc queue;
	struct iommu_ioas_map_file map_file;
};

struct sweep {
	struct rig rig;
	/* A huge page, not mapped for devices */
	void *memory;
	long huge_pages;
	/* Of this time */
	int file;
};

FIXTURE(fail_nth)
{
	struct sweep sweep;
	int fail_fd;
};

FIXTURE_VARIANT(fail_nth)
{
	unsigned long request;
	int (*make)(struct sweep *sweep, union cmd *cmd);
	/* Undo success, or look for what a failure has left */
	int (*undo)(struct sweep *sweep, union cmd *cmd);
	int (*failed)(struct sweep *sweep, union cmd *cmd);
};

static struct iommu_viommu_selftest viommu_data;

static int make_viommu(struct sweep *sweep, union cmd *cmd)
{
	viommu_data.in_data = 0x600d;
	cmd->viommu = viommu_cmd(&sweep->rig);
	cmd->viommu.data_uptr = (uintptr_t)&viommu_data;
	cmd->viommu.data_len = sizeof(viommu_data);
	return 0;
}

static int undo_viommu(struct sweep *sweep, union cmd *cmd)
{
	/* It has the first offset: no failure has kept that */
	if (viommu_data.out_mmap_offset != PAGE_SIZE ||
	    try_page(sweep->rig.fd, PAGE_SIZE, PAGE_SIZE, PROT_READ, MAP_SHARED))
		return LEAKED;
	return destroy(sweep->rig.fd, cmd->viommu.out_viommu_id);
}

static int failed_viommu(struct sweep *sweep, union cmd *cmd)
{
	int rc = try_page(sweep->rig.fd, PAGE_SIZE, PAGE_SIZE, PROT_READ,
			  MAP_SHARED);

	return rc == -ENXIO ? 0 : LEAKED;
}

/* Two areas, of which the queue has the end and the start: two blocks */
static int make_queue(struct sweep *sweep, union cmd *cmd)
{
	struct rig *rig = &sweep->rig;
	size_t half = HUGE_SIZE / 2;
	__u64 iova = IOVA + half;
	int rc;

	cmd->queue = queue_cmd(rig, 0, iova + PAGE_SIZE / 2,
			       HUGE_SIZE - PAGE_SIZE);
	rc = map_memory(rig, iova, sweep->memory, half, READ_WRITE);
	if (!rc)
		rc = map_memory(rig, iova + half, sweep->memory + half, half,
				READ_WRITE);
	return rc;
}

/* Nothing is locked any more */
static int failed_queue(struct sweep *sweep, union cmd *cmd)
{
	return unmap(&sweep->rig, IOVA + HUGE_SIZE / 2, HUGE_SIZE);
}

static int undo_queue(struct sweep *sweep, union cmd *cmd)
{
	return destroy(sweep->rig.fd, cmd->queue.out_hw_queue_id) ?:
		       failed_queue(sweep, cmd);
}

static int make_file(struct sweep *sweep, union cmd *cmd,
		     unsigned int flags, size_t start, size_t length)
{
	sweep->file = make_memfd(start + length, flags);
	cmd->map_file = map_file_cmd(&sweep->rig, sweep->file, start, length,
				     IOVA + start, READ_WRITE);
	return sweep->file < 0 ? sweep->file : 0;
}

/* With pages that are not there yet */
static int make_small_file(struct sweep *sweep, union cmd *cmd)
{
	return make_file(sweep, cmd, 0, PAGE_SIZE, 3 * PAGE_SIZE);
}

static int make_huge_file(struct sweep *sweep, union cmd *cmd)
{
	return make_file(sweep, cmd, MFD_HUGETLB, HUGE_SIZE / 2,
			 HUGE_SIZE + HUGE_SIZE / 2);
}

/* Neither the file nor a page of it is in use */
static int check_file(struct sweep *sweep)
{
	int rc = fcntl(sweep->file, F_ADD_SEALS, F_SEAL_WRITE) ? -errno : 0;

	close(sweep->file);
	if (!rc && sweep->huge_pages != huge_pages())
		rc = LEAKED;
	return rc;
}

static int undo_file(struct sweep *sweep, union cmd *cmd)
{
	return unmap(&sweep->rig, cmd->map_file.iova, cmd->map_file.length) ?:
		       check_file(sweep);
}

static int failed_file(struct sweep *sweep, union cmd *cmd)
{
	/* As with IOMMU_IOAS_MAP it may be mapped when the answer fails */
	unmap(&sweep->rig, cmd->map_file.iova, cmd->map_file.length);
	return check_file(sweep);
}

FIXTURE_VARIANT_ADD(fail_nth, viommu_alloc)
{
	.request = IOMMU_VIOMMU_ALLOC,
	.make = make_viommu,
	.undo = undo_viommu,
	.failed = failed_viommu,
};

FIXTURE_VARIANT_ADD(fail_nth, hw_queue_alloc)
{
	.request = IOMMU_HW_QUEUE_ALLOC,
	.make = make_queue,
	.undo = undo_queue,
	.failed = failed_queue,
};

FIXTURE_VARIANT_ADD(fail_nth, map_file)
{
	.request = IOMMU_IOAS_MAP_FILE,
	.make = make_small_file,
	.undo = undo_file,
	.failed = failed_file,
};

FIXTURE_VARIANT_ADD(fail_nth, map_huge_file)
{
	.request = IOMMU_IOAS_MAP_FILE,
	.make = make_huge_file,
	.undo = undo_file,
	.failed = failed_file,
};

FIXTURE_SETUP(fail_nth)
{
	ASSERT_EQ(0, rig_open(&self->sweep.rig));
	self->sweep.memory = huge_memory(HUGE_SIZE);
	ASSERT_NE(NULL, self->sweep.memory);
	self->sweep.huge_pages = huge_pages();
	self->fail_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (self->fail_fd < 0)
		SKIP(return, "the kernel has no fault injection");
}

FIXTURE_TEARDOWN(fail_nth)
{
	rig_close(&self->sweep.rig);
	close(self->fail_fd);
	EXPECT_EQ(self->sweep.rig.mock_devices, mock_devices());
	EXPECT_EQ(self->sweep.rig.tainted, kernel_tainted());
}

static bool is_failure(int rc)
{
	/* Memory, the look-up of an object, a page that can't be pinned */
	return rc == -ENOMEM || rc == -ENOENT || rc == -EFAULT || rc == -EINVAL;
}

TEST_F_TIMEOUT(fail_nth, leaves_nothing_behind, 300)
{
	struct rig *rig = &self->sweep.rig;
	bool failed = true;
	int failures = 0;
	union cmd cmd;
	int id, fd, n;
	int rc;

	for (n = 1; failed && n < MOST_FAILURES; n++) {
		id = next_id(rig->fd);
		fd = next_fd(rig->fd);
		ASSERT_EQ(0, variant->make(&self->sweep, &cmd));

		arm(self->fail_fd, n);
		rc = call(rig->fd, variant->request, &cmd);
		failed = disarm(self->fail_fd);

		if (rc) {
			failures++;
			ASSERT_TRUE(failed && is_failure(rc))
				TH_LOG("errno %d after failure %d", -rc, n);
			ASSERT_EQ(0, variant->failed(&self->sweep, &cmd))
				TH_LOG("after failure %d, errno %d", n, -rc);
		} else {
			ASSERT_EQ(0, variant->undo(&self->sweep, &cmd))
				TH_LOG("with failure %d", n);
		}
		ASSERT_EQ(id, next_id(rig->fd));
		ASSERT_EQ(fd, next_fd(rig->fd));
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(0, failures);
	TH_LOG("%d chances, %d failures", n - 2, failures);

	/* Nothing is busy any more */
	EXPECT_EQ(0, destroy(rig->fd, rig->viommu));
	EXPECT_EQ(0, destroy(rig->fd, rig->stdev));
	EXPECT_EQ(0, destroy(rig->fd, rig->parent));
	EXPECT_EQ(0, destroy(rig->fd, rig->ioas));
}

TEST_HARNESS_MAIN
