// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each ioctl of virtual IOMMUs, with its first allocation failing, then its
 * second one, and so on until none fails. Also the look-ups of objects fail:
 * the mock IOMMU's configuration makes them take part.
 *
 * An ioctl that fails must leave nothing behind: no ID, no file, and nothing
 * that keeps other objects busy.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include "iommufd_viommu_utils.h"
#include "iommufd_viommu_fail_nth.h"

/* More than any of these has; a limit in case that it never ends */
#define MOST_FAILURES 200

union cmd {
	struct iommu_viommu_alloc viommu;
	struct iommu_vdevice_alloc vdevice;
	struct iommu_veventq_alloc veventq;
	struct iommu_hwpt_alloc hwpt;
	struct iommu_hwpt_invalidate invalidate;
	struct iommu_hw_info hw_info;
	struct iommu_destroy destroy;
	struct iommu_test_cmd test;
};

static struct iommu_viommu_selftest viommu_data;
static struct iommu_test_hw_info hw_info_data;
static const struct iommu_viommu_invalidate_selftest entries[] = {
	{ .vdev_id = VIRT_ID },
	{ .vdev_id = VIRT_ID, .cache_id = 1 },
};

static void make_viommu(struct rig *rig, union cmd *cmd)
{
	cmd->viommu = viommu_cmd(rig);
	cmd->viommu.data_uptr = (uintptr_t)&viommu_data;
	cmd->viommu.data_len = sizeof(viommu_data);
}

static int undo_viommu(struct rig *rig, union cmd *cmd)
{
	return destroy(rig->fd, cmd->viommu.out_viommu_id);
}

static void make_vdevice(struct rig *rig, union cmd *cmd)
{
	cmd->vdevice = vdevice_cmd(rig);
	/* Far away from others: the xarray needs nodes */
	cmd->vdevice.virt_id = 1UL << 40;
}

static int undo_vdevice(struct rig *rig, union cmd *cmd)
{
	return destroy(rig->fd, cmd->vdevice.out_vdevice_id);
}

static void make_veventq(struct rig *rig, union cmd *cmd)
{
	cmd->veventq = veventq_cmd(rig, 4);
}

static int undo_veventq(struct rig *rig, union cmd *cmd)
{
	close(cmd->veventq.out_veventq_fd);
	return destroy(rig->fd, cmd->veventq.out_veventq_id);
}

static void make_nested(struct rig *rig, union cmd *cmd)
{
	cmd->hwpt = nested_cmd(rig);
}

static int undo_nested(struct rig *rig, union cmd *cmd)
{
	return destroy(rig->fd, cmd->hwpt.out_hwpt_id);
}

static void make_invalidate(struct rig *rig, union cmd *cmd)
{
	cmd->invalidate = invalidate_cmd(rig, entries, ARRAY_SIZE(entries));
}

static void make_hw_info(struct rig *rig, union cmd *cmd)
{
	cmd->hw_info = hw_info_cmd(rig);
	cmd->hw_info.data_uptr = (uintptr_t)&hw_info_data;
	cmd->hw_info.data_len = sizeof(hw_info_data);
}

static void make_attach(struct rig *rig, union cmd *cmd)
{
	cmd->test = (struct iommu_test_cmd){
		.size = sizeof(cmd->test),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
		.id = rig->stdev,
		.mock_domain_replace = { .pt_id = rig->nested },
	};
}

static int undo_attach(struct rig *rig, union cmd *cmd)
{
	return attach(rig, rig->parent);
}

static int undo_nothing(struct rig *rig, union cmd *cmd)
{
	return 0;
}

FIXTURE(fail_nth)
{
	struct rig rig;
	int fail_fd;
};

FIXTURE_VARIANT(fail_nth)
{
	unsigned long request;
	void (*make)(struct rig *rig, union cmd *cmd);
	int (*undo)(struct rig *rig, union cmd *cmd);
	/* On a vIOMMU that has a vDEVICE and a nested HWPT */
	bool on_nested;
};

FIXTURE_VARIANT_ADD(fail_nth, viommu_alloc)
{
	.request = IOMMU_VIOMMU_ALLOC,
	.make = make_viommu,
	.undo = undo_viommu,
};

FIXTURE_VARIANT_ADD(fail_nth, vdevice_alloc)
{
	.request = IOMMU_VDEVICE_ALLOC,
	.make = make_vdevice,
	.undo = undo_vdevice,
};

FIXTURE_VARIANT_ADD(fail_nth, veventq_alloc)
{
	.request = IOMMU_VEVENTQ_ALLOC,
	.make = make_veventq,
	.undo = undo_veventq,
};

FIXTURE_VARIANT_ADD(fail_nth, hwpt_alloc)
{
	.request = IOMMU_HWPT_ALLOC,
	.make = make_nested,
	.undo = undo_nested,
};

FIXTURE_VARIANT_ADD(fail_nth, hwpt_invalidate)
{
	.request = IOMMU_HWPT_INVALIDATE,
	.make = make_invalidate,
	.undo = undo_nothing,
	.on_nested = true,
};

FIXTURE_VARIANT_ADD(fail_nth, get_hw_info)
{
	.request = IOMMU_GET_HW_INFO,
	.make = make_hw_info,
	.undo = undo_nothing,
};

FIXTURE_VARIANT_ADD(fail_nth, attach)
{
	.request = _IOMMU_TEST_CMD(IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE),
	.make = make_attach,
	.undo = undo_attach,
	.on_nested = true,
};

FIXTURE_SETUP(fail_nth)
{
	struct rig *rig = &self->rig;

	ASSERT_EQ(0, rig_open(rig));
	if (variant->on_nested) {
		ASSERT_EQ(0, vdevice_alloc(rig, VIRT_ID, &rig->vdevice));
		ASSERT_EQ(0, nested_alloc(rig, &rig->nested));
		/* Where undo_attach() leads */
		ASSERT_EQ(0, attach(rig, rig->parent));
	}
	self->fail_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (self->fail_fd < 0)
		SKIP(return, "the kernel has no fault injection");
}

FIXTURE_TEARDOWN(fail_nth)
{
	rig_close(&self->rig);
	close(self->fail_fd);
	EXPECT_EQ(self->rig.mock_devices, mock_devices());
	EXPECT_EQ(self->rig.tainted, kernel_tainted());
}

static bool is_failure(int rc)
{
	/* Memory, the look-up of an object, of a page table to HWPT_ALLOC */
	return rc == -ENOMEM || rc == -ENOENT || rc == -EINVAL ||
	       rc == -EFAULT;
}

TEST_F_TIMEOUT(fail_nth, leaves_nothing_behind, 120)
{
	struct rig *rig = &self->rig;
	bool failed = true;
	int failures = 0;
	union cmd cmd;
	int id, fd, n;
	int rc;

	for (n = 1; failed && n < MOST_FAILURES; n++) {
		id = next_id(rig->fd);
		fd = next_fd(rig->fd);
		variant->make(rig, &cmd);

		arm(self->fail_fd, n);
		rc = call(rig->fd, variant->request, &cmd);
		failed = disarm(self->fail_fd);

		if (rc) {
			failures++;
			ASSERT_TRUE(failed && is_failure(rc))
				TH_LOG("errno %d after failure %d", -rc, n);
		} else {
			ASSERT_EQ(0, variant->undo(rig, &cmd));
		}
		ASSERT_EQ(id, next_id(rig->fd));
		ASSERT_EQ(fd, next_fd(rig->fd));
	}
	EXPECT_FALSE(failed);
	EXPECT_LT(0, failures);
	TH_LOG("%d chances, %d failures", n - 2, failures);

	/* Nothing is busy any more */
	if (variant->on_nested) {
		EXPECT_EQ(0, destroy(rig->fd, rig->vdevice));
		EXPECT_EQ(0, destroy(rig->fd, rig->nested));
	}
	EXPECT_EQ(0, destroy(rig->fd, rig->viommu));
	EXPECT_EQ(0, destroy(rig->fd, rig->stdev));
	EXPECT_EQ(0, destroy(rig->fd, rig->parent));
	EXPECT_EQ(0, destroy(rig->fd, rig->ioas));
}

FIXTURE(fail_nth_events)
{
	struct rig rig;
	int fail_fd;
};

FIXTURE_SETUP(fail_nth_events)
{
	ASSERT_EQ(0, rig_open(&self->rig));
	ASSERT_EQ(0, rig_nest(&self->rig, 4));
	self->fail_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (self->fail_fd < 0)
		SKIP(return, "the kernel has no fault injection");
}

FIXTURE_TEARDOWN(fail_nth_events)
{
	rig_close(&self->rig);
	close(self->fail_fd);
	EXPECT_EQ(self->rig.mock_devices, mock_devices());
	EXPECT_EQ(self->rig.tainted, kernel_tainted());
}

TEST_F(fail_nth_events, event_without_memory_is_a_lost_one)
{
	struct iommufd_vevent_header header;
	struct event event;
	bool failed;
	int rc;

	/* The first chance is the look-up of the device, the second kmalloc() */
	arm(self->fail_fd, 1);
	rc = trigger(&self->rig);
	ASSERT_TRUE(disarm(self->fail_fd));
	EXPECT_EQ(-ENOENT, rc);

	arm(self->fail_fd, 2);
	rc = trigger(&self->rig);
	failed = disarm(self->fail_fd);
	ASSERT_TRUE(failed);
	EXPECT_EQ(0, rc);
	EXPECT_EQ(sizeof(header),
		  read(self->rig.event_fd, &header, sizeof(header)));
	EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS, header.flags);
	EXPECT_EQ(0, header.sequence);

	ASSERT_EQ(0, trigger(&self->rig));
	EXPECT_EQ(sizeof(event),
		  read(self->rig.event_fd, &event, sizeof(event)));
	EXPECT_EQ(1, event.header.sequence);
}

/* Where something is destroyed there is no way back: nothing is allocated */
TEST_F(fail_nth_events, destroy_can_not_fail)
{
	struct rig *rig = &self->rig;
	const __u32 ids[] = {
		rig->stdev, rig->nested, rig->veventq, rig->viommu, rig->parent,
	};
	int i;

	ASSERT_EQ(0, close(rig->event_fd));
	rig->event_fd = -1;
	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		arm(self->fail_fd, 1);
		EXPECT_EQ(0, destroy(rig->fd, ids[i]));
		disarm(self->fail_fd);
	}
}

TEST_HARNESS_MAIN
