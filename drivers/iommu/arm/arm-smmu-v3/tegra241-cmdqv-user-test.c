// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the VINTFs and VCMDQs that guests own, on registers that are
 * an array. iommufd is the real one as far as a driver calls it.
 *
 * What is expected is written down in bits, as the register reference has it.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/mman.h>

#include "../../iommufd/iommufd_private.h"
#include "tegra241-cmdqv.h"

/* As Grace has it, with the kernel's VCMDQs 0 to 3 and VINTF 0 taken */
#define VCMDQS		128
#define VINTFS		64
#define SLOTS		16
#define KERNEL_VCMDQS	4
#define CMDQS		19
#define PHYS		0x11200000

/* So a VM gets these */
#define VINTF		1
#define FIRST		KERNEL_VCMDQS
#define THIRD		(KERNEL_VCMDQS + 2)
#define LIMIT		64

#define VMID		0xabcd
#define SID		0xfedcb
#define VSID		0x12345
#define BASE		0x123456780000
#define BYTES		0x800	/* of a queue: 128 entries */
#define LOG2SIZE	7

/* Nothing of a guest is touched through a VINTF's pages: ours end before */
#define SMMU_REGS	TEGRA241_VINTF_PAGE0(0)
#define REGS_BYTES	(SMMU_REGS + SZ_4K)

#define LAG		2	/* a STATUS is read as often until it follows */
#define MAX_REPORTS	64
#define INTERVAL_MS	100
#define MAX_ACCESSES	4096
#define NONE		UINT_MAX

enum access_kind { RD, WR, FLUSH };

struct access {
	enum access_kind kind;
	u32 offset;
	u64 val;
};

/**
 * struct fixture - A block, its SMMU, and iommufd's part
 * @smmu: The SMMU.
 * @cmdqv: The block beside it.
 * @ictx: The context of all guests.
 * @mem: What the registers hold, the SMMU's behind those of the block.
 * @log: The accesses, where reads with the same result in a row are one.
 * @num_accesses: How many of @log.
 * @wild: Accesses to what is not for guests.
 * @frozen: Offset of a STATUS register that does not follow its CONFIG.
 * @following: Offset of the STATUS register that is about to follow its CONFIG.
 * @lag: After that many reads.
 * @enables_again: The guest enables a queue when it is about to be unmapped.
 * @toggles: ... and clears its enable bit at once, so that only STATUS tells.
 * @holds: Offset of a STATUS register that the guest holds up until unmapped.
 * @acknowledges: The guest acknowledges its errors when its VINTF is masked.
 * @pool: The VCMDQs that are taken while there is no guest.
 * @vintfs: The VINTFs, likewise.
 * @user_data: Where user space wants to learn of page 0.
 */
struct fixture {
	struct arm_smmu_device smmu;
	struct tegra241_cmdqv cmdqv;
	struct iommufd_ctx ictx;

	u8 *mem;
	struct access log[MAX_ACCESSES];
	unsigned int num_accesses;
	unsigned int wild;

	u32 frozen;
	u32 following;
	u32 lag;
	bool enables_again;
	bool toggles;
	u32 holds;
	bool acknowledges;

	DECLARE_BITMAP(pool, TEGRA241_MAX_VCMDQS);
	DECLARE_BITMAP(vintfs, TEGRA241_MAX_VINTFS);
	struct iommu_user_data user_data;
};

struct device_fixture {
	struct device dev;
	struct dev_iommu dev_iommu;
	struct arm_smmu_stream stream;
	struct arm_smmu_master master;
	struct iommufd_device idev;
};

/* The registers */

static void __iomem *reg_at(struct fixture *f, u32 offset)
{
	return (void __iomem __force *)f->mem + offset;
}

static u32 offset_of(struct fixture *f, const void __iomem *reg)
{
	return (const u8 __force *)reg - f->mem;
}

/* Little-endian: a worker, where no stub is active, reads them as well */
static u32 get(struct fixture *f, u32 offset)
{
	return readl(reg_at(f, offset));
}

static void set(struct fixture *f, u32 offset, u32 val)
{
	writel(val, reg_at(f, offset));
}

static u32 page0(unsigned int idx, u32 reg)
{
	return TEGRA241_VCMDQ_PAGE0(idx) + reg;
}

static u32 page1(unsigned int idx, u32 reg)
{
	return TEGRA241_VCMDQ_PAGE1(idx) + reg;
}

static u32 vintf(unsigned int idx, u32 reg)
{
	return TEGRA241_VINTF(idx) + reg;
}

static u64 alloc_val(unsigned int idx, unsigned int lidx, bool mapped)
{
	return idx << 15 | lidx << 1 | mapped;
}

static void log_access(struct fixture *f, enum access_kind kind, u32 offset,
		       u64 val)
{
	struct access *last = &f->log[f->num_accesses];

	if (f->num_accesses && kind == RD && last[-1].kind == RD &&
	    last[-1].offset == offset && last[-1].val == val)
		return;
	if (f->num_accesses < MAX_ACCESSES) {
		*last = (struct access){ kind, offset, val };
		f->num_accesses++;
	}
}

static u32 fake_readl(const void __iomem *reg)
{
	struct fixture *f = kunit_get_current_test()->priv;
	u32 offset = offset_of(f, reg);
	u32 val;

	if (offset >= SMMU_REGS && offset != SMMU_REGS + ARM_SMMU_IDR1) {
		f->wild++;
		return 0;
	}

	val = get(f, offset);
	log_access(f, RD, offset, val);
	if (offset == f->following && !--f->lag) {
		set(f, offset, !val);
		f->following = NONE;
	}
	return val;
}

/* The register of a VINTF or a queue at an offset, or NONE */
static u32 vintf_reg(u32 offset)
{
	return offset >= TEGRA241_VINTF(0) && offset < TEGRA241_VINTF(VINTFS) ?
		       offset % TEGRA241_VINTF(0) % 0x100 : NONE;
}

static u32 vcmdq_reg(u32 offset)
{
	return offset >= page0(0, 0) && offset < page0(VCMDQS, 0) ?
		       offset % 0x80 : NONE;
}

static void follow(struct fixture *f, u32 status, bool on)
{
	bool follows = status != f->frozen && status != f->holds &&
		       get(f, status) != on;

	f->following = follows ? status : NONE;
	f->lag = LAG;
}

static void guest_acts(struct fixture *f, u32 offset, u32 val)
{
	if (f->enables_again && !(val & 1) &&
	    offset >= TEGRA241_CMDQ_ALLOC(0) &&
	    offset < TEGRA241_CMDQ_ALLOC(VCMDQS)) {
		unsigned int idx = (offset - TEGRA241_CMDQ_ALLOC(0)) / 4;

		set(f, page0(idx, VCMDQ_CONFIG), !f->toggles);
		set(f, page0(idx, VCMDQ_STATUS), 1);
		set(f, page0(idx, VCMDQ_PROD), 5);
	}
	if (offset >= TEGRA241_CMDQ_ALLOC(0) &&
	    offset < TEGRA241_CMDQ_ALLOC(VCMDQS) && !(val & 1))
		f->holds = NONE;
	if (f->acknowledges && offset == TEGRA241_VINTF_INT_MASK(0))
		set(f, TEGRA241_VINTF_ERR_MAP(0), 0);
}

static void fake_writel(u32 val, void __iomem *reg)
{
	struct fixture *f = kunit_get_current_test()->priv;
	u32 offset = offset_of(f, reg);

	if (offset >= SMMU_REGS) {
		f->wild++;
		return;
	}

	log_access(f, WR, offset, val);
	set(f, offset, val);
	if (vintf_reg(offset) == VINTF_CONFIG)
		follow(f, offset - VINTF_CONFIG + VINTF_STATUS, val & 1);
	if (vcmdq_reg(offset) == VCMDQ_CONFIG)
		follow(f, offset - VCMDQ_CONFIG + VCMDQ_STATUS, val & 1);
	guest_acts(f, offset, val);
}

static void fake_writeq(u64 val, void __iomem *reg)
{
	struct fixture *f = kunit_get_current_test()->priv;
	u32 offset = offset_of(f, reg);

	if (offset < page1(0, 0) || offset >= SMMU_REGS) {
		f->wild++;
		return;
	}
	log_access(f, WR, offset, val);
	set(f, offset, lower_32_bits(val));
	set(f, offset + 4, upper_32_bits(val));
}

static void fake_flush(struct tegra241_cmdqv *cmdqv)
{
	log_access(kunit_get_current_test()->priv, FLUSH, 0, 0);
}

/* What was accessed */

static unsigned int find(struct fixture *f, unsigned int from,
			 enum access_kind kind, u32 offset, u64 val)
{
	unsigned int n;

	for (n = from; n < f->num_accesses; n++)
		if (f->log[n].kind == kind && f->log[n].offset == offset &&
		    f->log[n].val == val)
			return n;
	return NONE;
}

static unsigned int num_writes(struct fixture *f, u32 offset)
{
	unsigned int n, num = 0;

	for (n = 0; n < f->num_accesses; n++)
		num += f->log[n].kind == WR && f->log[n].offset == offset;
	return num;
}

static unsigned int num_all_writes(struct fixture *f)
{
	unsigned int n, num = 0;

	for (n = 0; n < f->num_accesses; n++)
		num += f->log[n].kind == WR;
	return num;
}

/* These follow each other in the log, with others between them maybe */
static void __expect_order(struct kunit *test, const struct access *steps,
			   unsigned int num)
{
	struct fixture *f = test->priv;
	unsigned int n, at = 0;

	for (n = 0; n < num; n++, at++) {
		at = find(f, at, steps[n].kind, steps[n].offset, steps[n].val);
		KUNIT_EXPECT_NE_MSG(test, at, NONE,
				    "step %u: kind %u at 0x%x, value 0x%llx",
				    n, steps[n].kind, steps[n].offset,
				    steps[n].val);
		if (at == NONE)
			return;
	}
}

#define expect_order(test, ...)						\
do {									\
	const struct access __steps[] = { __VA_ARGS__ };		\
									\
	__expect_order(test, __steps, ARRAY_SIZE(__steps));		\
} while (0)

static void expect_last(struct kunit *test, enum access_kind kind, u32 offset,
			u64 val)
{
	struct fixture *f = test->priv;
	struct access *last = &f->log[f->num_accesses - 1];

	KUNIT_ASSERT_NE(test, f->num_accesses, 0);
	KUNIT_EXPECT_EQ(test, last->kind, kind);
	KUNIT_EXPECT_EQ(test, last->offset, offset);
	KUNIT_EXPECT_EQ(test, last->val, val);
}

/* The guests */

static struct arm_vsmmu *new_guest(struct kunit *test, u16 vmid)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu;
	size_t size;

	size = tegra241_guest_size(&f->smmu, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV);
	KUNIT_ASSERT_GE(test, size, sizeof(*vsmmu));
	vsmmu = kunit_kzalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vsmmu);

	vsmmu->core.ictx = &f->ictx;
	vsmmu->core.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
	refcount_set(&vsmmu->core.obj.users, 1);
	xa_init(&vsmmu->core.vdevs);
	INIT_LIST_HEAD(&vsmmu->core.veventqs);
	init_rwsem(&vsmmu->core.veventqs_rwsem);
	vsmmu->smmu = &f->smmu;
	vsmmu->vmid = vmid;
	return vsmmu;
}

static struct arm_vsmmu *start_guest(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = new_guest(test, VMID);

	KUNIT_ASSERT_EQ(test, tegra241_guest_init(vsmmu, &f->user_data), 0);
	f->num_accesses = 0;
	return vsmmu;
}

static void destroy_guest(struct arm_vsmmu *vsmmu)
{
	vsmmu->core.ops->destroy(&vsmmu->core);
}

static void expect_nothing_taken(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned long index = 0;
	unsigned int n;

	KUNIT_EXPECT_TRUE(test, bitmap_equal(f->cmdqv.pool, f->pool, VCMDQS));
	KUNIT_EXPECT_TRUE(test, bitmap_equal(f->cmdqv.vintfs, f->vintfs, VINTFS));
	KUNIT_EXPECT_NULL(test, mt_find(&f->ictx.mt_mmap, &index, ULONG_MAX));
	for (n = 0; n < VINTFS; n++)
		KUNIT_EXPECT_NULL(test, f->cmdqv.guests[n]);
}

static struct iommufd_hw_queue *new_queue(struct kunit *test,
					  struct arm_vsmmu *vsmmu,
					  unsigned int index)
{
	struct iommufd_viommu *viommu = &vsmmu->core;
	struct iommufd_hw_queue *hw_queue;
	size_t size;

	size = viommu->ops->get_hw_queue_size(viommu,
					      IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV);
	KUNIT_ASSERT_GE(test, size, sizeof(*hw_queue));
	hw_queue = kunit_kzalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, hw_queue);

	hw_queue->viommu = viommu;
	hw_queue->type = IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV;
	hw_queue->index = index;
	hw_queue->length = BYTES;
	refcount_set(&hw_queue->obj.users, 1);
	return hw_queue;
}

static int init_queue(struct iommufd_hw_queue *hw_queue)
{
	return hw_queue->viommu->ops->hw_queue_init(hw_queue, BASE);
}

static struct iommufd_hw_queue *start_queue(struct kunit *test,
					    struct arm_vsmmu *vsmmu,
					    unsigned int index)
{
	struct iommufd_hw_queue *hw_queue = new_queue(test, vsmmu, index);
	struct fixture *f = test->priv;

	KUNIT_ASSERT_EQ(test, init_queue(hw_queue), 0);
	KUNIT_ASSERT_NOT_NULL(test, hw_queue->destroy);
	f->num_accesses = 0;
	return hw_queue;
}

static struct iommufd_vdevice *new_vdevice(struct kunit *test,
					   struct arm_vsmmu *vsmmu, u64 vsid)
{
	struct device_fixture *d = kunit_kzalloc(test, sizeof(*d), GFP_KERNEL);
	struct iommufd_vdevice *vdev;

	KUNIT_ASSERT_NOT_NULL(test, d);
	KUNIT_ASSERT_GE(test, vsmmu->core.ops->vdevice_size, sizeof(*vdev));
	vdev = kunit_kzalloc(test, vsmmu->core.ops->vdevice_size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vdev);

	d->stream.id = SID;
	d->master.smmu = vsmmu->smmu;
	d->master.dev = &d->dev;
	d->master.streams = &d->stream;
	d->master.num_streams = 1;
	d->dev.init_name = "nvme";
	d->dev.iommu = &d->dev_iommu;
	d->dev_iommu.priv = &d->master;
	d->idev.dev = &d->dev;
	vdev->viommu = &vsmmu->core;
	vdev->idev = &d->idev;
	vdev->virt_id = vsid;
	return vdev;
}

static struct arm_smmu_master *master_of(struct iommufd_vdevice *vdev)
{
	return dev_iommu_priv_get(vdev->idev->dev);
}

static int init_vdevice(struct iommufd_vdevice *vdev)
{
	return vdev->viommu->ops->vdevice_init(vdev);
}

static struct iommufd_vdevice *start_vdevice(struct kunit *test,
					     struct arm_vsmmu *vsmmu, u64 vsid)
{
	struct iommufd_vdevice *vdev = new_vdevice(test, vsmmu, vsid);
	struct fixture *f = test->priv;

	KUNIT_ASSERT_EQ(test, init_vdevice(vdev), 0);
	KUNIT_ASSERT_NOT_NULL(test, vdev->destroy);
	f->num_accesses = 0;
	return vdev;
}

/* The VINTF comes */

static void slots_are_cleared_before_the_vintf_is_enabled(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int s;

	for (s = 0; s < SLOTS; s++) {
		set(f, vintf(VINTF, VINTF_SID_MATCH(s)), 0x2468b);
		set(f, vintf(VINTF, VINTF_SID_REPLACE(s)), 0x13579);
	}
	start_guest(test);
	for (s = 0; s < SLOTS; s++) {
		KUNIT_EXPECT_EQ(test, get(f, vintf(VINTF, VINTF_SID_MATCH(s))), 0);
		KUNIT_EXPECT_EQ(test, get(f, vintf(VINTF, VINTF_SID_REPLACE(s))), 0);
	}

	f->num_accesses = 0;
	KUNIT_ASSERT_EQ(test, tegra241_guest_init(new_guest(test, VMID),
						  &f->user_data), 0);
	for (s = 0; s < SLOTS; s++)
		expect_order(test,
			     { WR, vintf(2, VINTF_SID_MATCH(s)), 0 },
			     { WR, vintf(2, VINTF_SID_REPLACE(s)), 0 },
			     { WR, vintf(2, VINTF_CONFIG), VMID << 1 });
}

static void slots_that_are_not_there_are_not_touched(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int s;

	f->cmdqv.num_sid_slots = 4;
	KUNIT_ASSERT_EQ(test, tegra241_guest_init(new_guest(test, VMID),
						  &f->user_data), 0);
	for (s = 0; s < SLOTS; s++) {
		KUNIT_EXPECT_EQ(test, s < 4,
				num_writes(f, vintf(VINTF, VINTF_SID_MATCH(s))));
		KUNIT_EXPECT_EQ(test, s < 4,
				num_writes(f, vintf(VINTF, VINTF_SID_REPLACE(s))));
	}
}

static void vintf_has_the_vmid_before_it_is_enabled(struct kunit *test)
{
	static const u16 vmids[] = { 0, 1, VMID, 0xffff };
	struct fixture *f = test->priv;
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(vmids); n++) {
		u32 config = vintf(VINTF + n, VINTF_CONFIG);

		f->num_accesses = 0;
		KUNIT_ASSERT_EQ(test,
				tegra241_guest_init(new_guest(test, vmids[n]),
						    &f->user_data), 0);
		/* HYP_OWN, bit 17, is never set */
		expect_order(test, { WR, config, vmids[n] << 1 },
			     { WR, config, vmids[n] << 1 | 1 });
		KUNIT_EXPECT_EQ(test, num_writes(f, config), 2);
	}
}

static void vintf_is_waited_for(struct kunit *test)
{
	struct fixture *f = test->priv;

	KUNIT_ASSERT_EQ(test, tegra241_guest_init(new_guest(test, VMID),
						  &f->user_data), 0);
	expect_last(test, RD, vintf(VINTF, VINTF_STATUS), 1);
}

static void user_space_learns_where_page_0_is(struct kunit *test)
{
	struct iommu_viommu_tegra241_cmdqv data = {};
	struct fixture *f = test->priv;
	struct iommufd_mmap *region;
	struct arm_vsmmu *vsmmu;

	/* That of VINTF 2 */
	start_guest(test);
	vsmmu = start_guest(test);
	KUNIT_ASSERT_EQ(test, copy_from_user(&data, f->user_data.uptr,
					     sizeof(data)), 0);
	KUNIT_EXPECT_EQ(test, data.out_vintf_mmap_length, SZ_64K);

	region = mtree_load(&f->ictx.mt_mmap, data.out_vintf_mmap_offset);
	KUNIT_ASSERT_NOT_NULL(test, region);
	KUNIT_EXPECT_EQ(test, region->offset, data.out_vintf_mmap_offset);
	KUNIT_EXPECT_EQ(test, region->length, SZ_64K);
	KUNIT_EXPECT_EQ(test, region->phys, PHYS + 0x70000);
	KUNIT_EXPECT_PTR_EQ(test, region->owner, &vsmmu->core.obj);
}

struct set_up_failure {
	const char *name;
	void (*prepare)(struct fixture *f);
	int error;
	bool started;
};

static void take_all_vintfs(struct fixture *f)
{
	bitmap_fill(f->cmdqv.vintfs, VINTFS);
}

static void take_all_vcmdqs(struct fixture *f)
{
	bitmap_fill(f->cmdqv.pool, VCMDQS);
}

static void leave_one_vcmdq(struct fixture *f)
{
	bitmap_fill(f->cmdqv.pool, VCMDQS);
	__clear_bit(77, f->cmdqv.pool);
}

static void freeze_vintf(struct fixture *f)
{
	f->frozen = vintf(VINTF, VINTF_STATUS);
}

static void leave_no_offset(struct fixture *f)
{
	mtree_store_range(&f->ictx.mt_mmap, 0, ULONG_MAX, f, GFP_KERNEL);
}

static void give_a_bad_pointer(struct fixture *f)
{
	f->user_data.uptr = (void __user *)TASK_SIZE;
}

static void give_a_longer_buffer(struct fixture *f)
{
	f->user_data.len = 17;
}

static void give_a_shorter_buffer(struct fixture *f)
{
	f->user_data.len = 15;
}

static void give_an_empty_buffer(struct fixture *f)
{
	f->user_data.len = 0;
}

static void give_another_type(struct fixture *f)
{
	f->user_data.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3;
}

static const struct set_up_failure set_up_failures[] = {
	{ "no VINTF", take_all_vintfs, -ENOSPC },
	{ "no VCMDQ", take_all_vcmdqs, -ENOSPC },
	{ "one VCMDQ", leave_one_vcmdq, -ENOSPC },
	{ "a VINTF that does not start", freeze_vintf, -ETIMEDOUT, true },
	{ "no offset for mmap", leave_no_offset, -EBUSY, true },
	{ "a bad pointer", give_a_bad_pointer, -EFAULT, true },
	{ "data of another type", give_another_type, -EINVAL, true },
	{ "longer data", give_a_longer_buffer, -EINVAL },
	{ "shorter data", give_a_shorter_buffer, -EINVAL },
	{ "empty data", give_an_empty_buffer, -EINVAL },
};

KUNIT_ARRAY_PARAM_DESC(set_up_failures, set_up_failures, name);

static void set_up_fails_and_takes_nothing(struct kunit *test)
{
	const struct set_up_failure *failure = test->param_value;
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = new_guest(test, VMID);

	failure->prepare(f);
	bitmap_copy(f->pool, f->cmdqv.pool, VCMDQS);
	bitmap_copy(f->vintfs, f->cmdqv.vintfs, VINTFS);
	KUNIT_EXPECT_EQ(test, tegra241_guest_init(vsmmu, &f->user_data),
			failure->error);
	KUNIT_EXPECT_NULL(test, vsmmu->core.ops);
	/* Those of leave_no_offset() */
	mtree_erase(&f->ictx.mt_mmap, ULONG_MAX);
	expect_nothing_taken(test);

	if (failure->started)
		expect_order(test,
			     { WR, vintf(VINTF, VINTF_CONFIG), VMID << 1 | 1 },
			     { WR, vintf(VINTF, VINTF_CONFIG), 0 },
			     { RD, vintf(VINTF, VINTF_STATUS), 0 });
	else
		KUNIT_EXPECT_EQ(test, num_all_writes(f), 0);
}

static void set_up_needs_data(struct kunit *test)
{
	struct fixture *f = test->priv;

	KUNIT_EXPECT_EQ(test, tegra241_guest_init(new_guest(test, VMID), NULL),
			-EINVAL);
	KUNIT_EXPECT_EQ(test, num_all_writes(f), 0);
	expect_nothing_taken(test);
}

/* ... and goes */

static void destroyed_vintf_is_disabled_and_waited_for(struct kunit *test)
{
	destroy_guest(start_guest(test));
	expect_order(test,
		     { WR, vintf(VINTF, VINTF_CONFIG), 0 },
		     { RD, vintf(VINTF, VINTF_STATUS), 1 },
		     { RD, vintf(VINTF, VINTF_STATUS), 0 });
	expect_last(test, RD, vintf(VINTF, VINTF_STATUS), 0);
}

static void vintf_that_does_not_stop_is_lost(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);

	f->frozen = vintf(VINTF, VINTF_STATUS);
	destroy_guest(vsmmu);
	/* Its queues are not */
	__set_bit(VINTF, f->vintfs);
	expect_nothing_taken(test);

	start_guest(test);
	KUNIT_EXPECT_NOT_NULL(test, f->cmdqv.guests[VINTF + 1]);
}

static void vintf_that_does_not_stop_when_set_up_fails_is_lost(struct kunit *test)
{
	struct fixture *f = test->priv;

	f->frozen = vintf(VINTF, VINTF_STATUS);
	set(f, f->frozen, 1);
	give_a_bad_pointer(f);
	KUNIT_EXPECT_EQ(test, tegra241_guest_init(new_guest(test, VMID),
						  &f->user_data), -EFAULT);
	__set_bit(VINTF, f->vintfs);
	expect_nothing_taken(test);
}

static void everything_is_given_back(struct kunit *test)
{
	struct iommufd_hw_queue *queues[2][5];
	struct iommufd_vdevice *vdevs[2][3];
	struct arm_vsmmu *vsmmus[2];
	unsigned int g, n;

	for (g = 0; g < 2; g++)
		vsmmus[g] = start_guest(test);
	for (n = 0; n < ARRAY_SIZE(queues[0]); n++)
		for (g = 0; g < 2; g++)
			queues[g][n] = start_queue(test, vsmmus[g], n);
	for (n = 0; n < ARRAY_SIZE(vdevs[0]); n++)
		for (g = 0; g < 2; g++)
			vdevs[g][n] = start_vdevice(test, vsmmus[g], n);

	for (g = 0; g < 2; g++) {
		for (n = 0; n < ARRAY_SIZE(vdevs[0]); n++)
			vdevs[g][n]->destroy(vdevs[g][n]);
		for (n = ARRAY_SIZE(queues[0]); n-- > 0;)
			queues[g][n]->destroy(queues[g][n]);
		destroy_guest(vsmmus[g]);
	}
	expect_nothing_taken(test);
}

static void every_vintf_can_be_had(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int v;

	/* The VCMDQs of the kernel are what the last VM needs */
	bitmap_zero(f->cmdqv.pool, VCMDQS);
	for (v = 1; v < VINTFS; v++) {
		start_guest(test);
		KUNIT_ASSERT_NOT_NULL(test, f->cmdqv.guests[v]);
		KUNIT_ASSERT_EQ(test, get(f, vintf(v, VINTF_STATUS)), 1);
	}
	KUNIT_EXPECT_NULL(test, f->cmdqv.guests[0]);
	KUNIT_EXPECT_EQ(test, tegra241_guest_init(new_guest(test, VMID),
						  &f->user_data), -ENOSPC);
}

/* Which queues there can be */

struct queue_check {
	const char *name;
	u32 index;
	u64 length;
	u64 base;
	int error;
};

static const struct queue_check queue_checks[] = {
	{ "2 entries", 0, 32, BASE + 32, 0 },
	{ "as many as the SMMU's", 0, 0x800000, 0x123456800000, 0 },
	{ "last of 48 bits", 0, 0x1000, 0xfffffffff000, 0 },
	{ "index beyond the limit", LIMIT, BYTES, BASE, -EINVAL },
	{ "largest index", U32_MAX, BYTES, BASE, -EINVAL },
	{ "index without the one before", 1, BYTES, BASE, -EIO },
	{ "last index without the one before", LIMIT - 1, BYTES, BASE, -EIO },
	{ "no bytes", 0, 0, BASE, -EINVAL },
	{ "1 entry", 0, 16, BASE, -EINVAL },
	{ "3 entries", 0, 48, BASE, -EINVAL },
	{ "a byte less", 0, BYTES - 1, BASE, -EINVAL },
	{ "a byte more", 0, BYTES + 1, BASE, -EINVAL },
	{ "more than the SMMU's", 0, 0x1000000, 0x123457000000, -EINVAL },
	{ "4 GiB", 0, BIT_ULL(32), 0x123400000000, -EINVAL },
	{ "length of 64 bits", 0, BIT_ULL(63), 0, -EINVAL },
	{ "base off by 32", 0, BYTES, BASE + 32, -EINVAL },
	{ "base off by half", 0, BYTES, BASE + BYTES / 2, -EINVAL },
	{ "base of 49 bits", 0, BYTES, BIT_ULL(48), -EINVAL },
	{ "base of 64 bits", 0, BYTES, BIT_ULL(63), -EINVAL },
};

KUNIT_ARRAY_PARAM_DESC(queue_checks, queue_checks, name);

static void queue_is_one_that_the_hardware_takes(struct kunit *test)
{
	const struct queue_check *check = test->param_value;
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *hw_queue =
		new_queue(test, vsmmu, check->index);

	hw_queue->length = check->length;
	KUNIT_EXPECT_EQ(test, check->error,
			vsmmu->core.ops->hw_queue_init(hw_queue, check->base));
	if (!check->error)
		return;

	/* It left no trace */
	KUNIT_EXPECT_NULL(test, hw_queue->destroy);
	KUNIT_EXPECT_EQ(test, f->num_accesses, 0);
	start_queue(test, vsmmu, 0);
}

static void largest_queue_is_that_of_the_smmu(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommufd_hw_queue *hw_queue;
	unsigned int log2size;

	for (log2size = 1; log2size <= CMDQS; log2size++) {
		struct arm_vsmmu *vsmmu;

		set(f, SMMU_REGS + ARM_SMMU_IDR1, log2size << 21);
		vsmmu = start_guest(test);
		hw_queue = new_queue(test, vsmmu, 0);
		hw_queue->length = 32 << log2size;
		KUNIT_EXPECT_EQ(test, -EINVAL,
				vsmmu->core.ops->hw_queue_init(hw_queue, 0));
		hw_queue->length = 16 << log2size;
		KUNIT_ASSERT_EQ(test, 0,
				vsmmu->core.ops->hw_queue_init(hw_queue, 0));
		hw_queue->destroy(hw_queue);
		destroy_guest(vsmmu);
	}
}

static void index_is_used_once(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *hw_queue = start_queue(test, vsmmu, 0);

	KUNIT_EXPECT_EQ(test, init_queue(new_queue(test, vsmmu, 0)), -EEXIST);
	KUNIT_EXPECT_EQ(test, f->num_accesses, 0);

	hw_queue->destroy(hw_queue);
	KUNIT_EXPECT_EQ(test, init_queue(new_queue(test, vsmmu, 0)), 0);
}

static void queue_depends_on_the_one_before(struct kunit *test)
{
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *first = start_queue(test, vsmmu, 0);
	struct iommufd_hw_queue *second;

	KUNIT_EXPECT_EQ(test, refcount_read(&first->obj.users), 1);
	second = start_queue(test, vsmmu, 1);
	KUNIT_EXPECT_EQ(test, refcount_read(&first->obj.users), 2);
	KUNIT_EXPECT_EQ(test, refcount_read(&second->obj.users), 1);
	second->destroy(second);
	KUNIT_EXPECT_EQ(test, refcount_read(&first->obj.users), 1);
}

static void queue_does_not_follow_one_that_goes(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *first = start_queue(test, vsmmu, 0);

	/* iommufd is about to call its destroy() */
	refcount_set(&first->obj.users, 0);
	KUNIT_EXPECT_EQ(test, init_queue(new_queue(test, vsmmu, 1)), -EIO);
	KUNIT_EXPECT_EQ(test, f->num_accesses, 0);
	first->destroy(first);
}

static void other_types_of_queues_are_unknown(struct kunit *test)
{
	struct iommufd_viommu *viommu = &start_guest(test)->core;
	unsigned int type;

	for (type = 0; type < 8; type++)
		KUNIT_EXPECT_EQ(test, type == 1,
				viommu->ops->get_hw_queue_size(viommu, type) != 0);
}

/* A queue comes */

static void dirty_queue(struct fixture *f, unsigned int idx)
{
	set(f, page0(idx, VCMDQ_CONFIG), 1);
	set(f, page0(idx, VCMDQ_STATUS), 1);
	set(f, page0(idx, VCMDQ_PROD), 5);
	set(f, page0(idx, VCMDQ_CONS), 0x01000003);
	set(f, page0(idx, VCMDQ_GERROR), 5);
	set(f, page0(idx, VCMDQ_GERRORN), 2);
	set(f, page1(idx, VCMDQ_BASE), 0x45600005);
	set(f, page1(idx, VCMDQ_BASE) + 4, 0x123);
	set(f, page1(idx, VCMDQ_CONS_INDX_BASE), 0x45678000);
	set(f, page1(idx, VCMDQ_CONS_INDX_BASE) + 4, 0x123);
}

/* Disabled and flushed, then cleared, and all before an access that follows */
static void expect_reset(struct kunit *test, unsigned int idx,
			 struct access then)
{
	const u32 cleared[] = {
		page0(idx, VCMDQ_PROD), page0(idx, VCMDQ_CONS),
		page1(idx, VCMDQ_BASE), page1(idx, VCMDQ_CONS_INDX_BASE),
	};
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(cleared); n++)
		expect_order(test,
			     { WR, page0(idx, VCMDQ_CONFIG), 0 },
			     { RD, page0(idx, VCMDQ_STATUS), 1 },
			     { RD, page0(idx, VCMDQ_STATUS), 0 },
			     { FLUSH },
			     { WR, cleared[n], 0 },
			     then);
	expect_order(test,
		     { FLUSH },
		     { RD, page0(idx, VCMDQ_GERROR), 5 },
		     { WR, page0(idx, VCMDQ_GERRORN), 5 },
		     then);
}

static void queue_is_reset_before_it_has_a_base(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);

	dirty_queue(f, FIRST);
	KUNIT_ASSERT_EQ(test, init_queue(new_queue(test, vsmmu, 0)), 0);
	expect_reset(test, FIRST,
		     (struct access){ WR, page1(FIRST, VCMDQ_BASE),
				      BASE | LOG2SIZE });
	/* Nothing else was written to it, above all no enable bit */
	KUNIT_EXPECT_EQ(test, num_writes(f, page0(FIRST, VCMDQ_CONFIG)), 1);
	KUNIT_EXPECT_EQ(test, num_writes(f, page0(FIRST, VCMDQ_PROD)), 1);
	KUNIT_EXPECT_EQ(test, num_writes(f, page0(FIRST, VCMDQ_CONS)), 1);
	KUNIT_EXPECT_EQ(test, num_writes(f, page1(FIRST, VCMDQ_BASE)), 2);
}

static void queue_is_mapped_at_last(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);

	start_queue(test, vsmmu, 0);
	KUNIT_ASSERT_EQ(test, init_queue(new_queue(test, vsmmu, 1)), 0);
	expect_last(test, WR, TEGRA241_CMDQ_ALLOC(FIRST + 1), 0x8003);
	KUNIT_EXPECT_EQ(test,
			num_writes(f, TEGRA241_CMDQ_ALLOC(FIRST + 1)), 1);
}

static void base_tells_log2_of_the_entries(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *hw_queue;
	unsigned int log2size;
	u64 base;

	hw_queue = new_queue(test, vsmmu, 0);
	for (log2size = 1; log2size <= CMDQS; log2size++) {
		base = 0xabcdef000000 + (16 << log2size);
		base = ALIGN(base, 16ULL << log2size);
		hw_queue->length = 16 << log2size;
		KUNIT_ASSERT_EQ(test, 0,
				vsmmu->core.ops->hw_queue_init(hw_queue, base));
		expect_order(test,
			     { WR, page1(FIRST, VCMDQ_BASE), base | log2size });
		hw_queue->destroy(hw_queue);
		f->num_accesses = 0;
	}
}

static void error_is_acknowledged_where_there_is_one(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);

	dirty_queue(f, FIRST);
	set(f, page0(FIRST, VCMDQ_GERRORN), 5);
	KUNIT_ASSERT_EQ(test, init_queue(new_queue(test, vsmmu, 0)), 0);
	KUNIT_EXPECT_EQ(test, num_writes(f, page0(FIRST, VCMDQ_GERRORN)), 0);
}

/* Two queues are the VM's own, others it has from the pool */
static void two_queues_are_reserved(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmus[2];
	unsigned int lidx, g;

	for (g = 0; g < 2; g++)
		vsmmus[g] = start_guest(test);
	/* In this order: the pool's come after all that is reserved */
	for (lidx = 0; lidx < 3; lidx++)
		for (g = 0; g < 2; g++)
			start_queue(test, vsmmus[1 - g], lidx);

	for (g = 0; g < 2; g++) {
		unsigned int first = FIRST + 2 * g;

		for (lidx = 0; lidx < 2; lidx++)
			KUNIT_EXPECT_EQ(test, alloc_val(1 + g, lidx, true),
					get(f, TEGRA241_CMDQ_ALLOC(first + lidx)));
		KUNIT_EXPECT_EQ(test, alloc_val(1 + g, 2, true),
				get(f, TEGRA241_CMDQ_ALLOC(FIRST + 5 - g)));
	}
}

static void reserved_queues_stay_the_vms(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *first = start_queue(test, vsmmu, 0);
	struct iommufd_hw_queue *second = start_queue(test, vsmmu, 1);

	second->destroy(second);
	first->destroy(first);
	KUNIT_EXPECT_TRUE(test, test_bit(FIRST, f->cmdqv.pool));
	KUNIT_EXPECT_TRUE(test, test_bit(FIRST + 1, f->cmdqv.pool));

	/* Also with nothing else left */
	bitmap_fill(f->cmdqv.pool, VCMDQS);
	start_queue(test, vsmmu, 0);
	start_queue(test, vsmmu, 1);
}

static void exhausted_pool_leaves_the_index_free(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *second;

	start_queue(test, vsmmu, 0);
	second = start_queue(test, vsmmu, 1);
	bitmap_fill(f->cmdqv.pool, VCMDQS);
	KUNIT_EXPECT_EQ(test, init_queue(new_queue(test, vsmmu, 2)), -ENOSPC);
	KUNIT_EXPECT_EQ(test, f->num_accesses, 0);
	KUNIT_EXPECT_EQ(test, refcount_read(&second->obj.users), 1);

	/* Somebody gives one back */
	__clear_bit(99, f->cmdqv.pool);
	KUNIT_EXPECT_EQ(test, init_queue(new_queue(test, vsmmu, 2)), 0);
	KUNIT_EXPECT_EQ(test, get(f, TEGRA241_CMDQ_ALLOC(99)), 0x8005);
}

/* What nobody may write while a queue runs */
static void expect_not_cleared(struct kunit *test, unsigned int idx)
{
	struct fixture *f = test->priv;

	KUNIT_EXPECT_EQ(test, num_writes(f, page0(idx, VCMDQ_PROD)), 0);
	KUNIT_EXPECT_EQ(test, num_writes(f, page0(idx, VCMDQ_CONS)), 0);
	KUNIT_EXPECT_EQ(test, num_writes(f, page1(idx, VCMDQ_BASE)), 0);
	KUNIT_EXPECT_EQ(test,
			num_writes(f, page1(idx, VCMDQ_CONS_INDX_BASE)), 0);
}

static void queue_that_does_not_stop_is_not_mapped(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *second, *third;

	start_queue(test, vsmmu, 0);
	second = start_queue(test, vsmmu, 1);
	third = new_queue(test, vsmmu, 2);
	dirty_queue(f, THIRD);
	f->frozen = page0(THIRD, VCMDQ_STATUS);
	KUNIT_EXPECT_EQ(test, init_queue(third), -ETIMEDOUT);
	KUNIT_EXPECT_NULL(test, third->destroy);
	KUNIT_EXPECT_EQ(test, num_writes(f, TEGRA241_CMDQ_ALLOC(THIRD)), 0);
	KUNIT_EXPECT_EQ(test, refcount_read(&second->obj.users), 1);
	expect_not_cleared(test, THIRD);

	/* Nobody gets it again: the next one is another */
	KUNIT_EXPECT_TRUE(test, test_bit(THIRD, f->cmdqv.pool));
	KUNIT_ASSERT_EQ(test, init_queue(third), 0);
	KUNIT_EXPECT_EQ(test, get(f, TEGRA241_CMDQ_ALLOC(THIRD + 1)),
			alloc_val(VINTF, 2, true));
}

/* VCMDQ FIRST is lost, and all that the VM has is given back */
static void expect_first_lost(struct kunit *test, struct arm_vsmmu *vsmmu)
{
	struct fixture *f = test->priv;

	destroy_guest(vsmmu);
	__set_bit(FIRST, f->pool);
	expect_nothing_taken(test);
}

static void reserved_queue_that_does_not_stop_is_replaced(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *first = new_queue(test, vsmmu, 0);

	dirty_queue(f, FIRST);
	f->frozen = page0(FIRST, VCMDQ_STATUS);
	KUNIT_EXPECT_EQ(test, init_queue(first), -ETIMEDOUT);
	KUNIT_ASSERT_EQ(test, init_queue(first), 0);
	KUNIT_EXPECT_EQ(test, get(f, TEGRA241_CMDQ_ALLOC(FIRST + 2)),
			alloc_val(VINTF, 0, true));
	first->destroy(first);

	/* What is there instead is as much the VM's own */
	KUNIT_EXPECT_TRUE(test, test_bit(FIRST + 2, f->cmdqv.pool));
	expect_first_lost(test, vsmmu);
}

static void lost_queue_is_not_replaced_by_what_is_not_there(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *first = new_queue(test, vsmmu, 0);
	DECLARE_BITMAP(pool, TEGRA241_MAX_VCMDQS);

	dirty_queue(f, FIRST);
	f->frozen = page0(FIRST, VCMDQ_STATUS);
	KUNIT_EXPECT_EQ(test, init_queue(first), -ETIMEDOUT);
	bitmap_copy(pool, f->cmdqv.pool, VCMDQS);
	bitmap_fill(f->cmdqv.pool, VCMDQS);
	KUNIT_EXPECT_EQ(test, init_queue(first), -ENOSPC);
	bitmap_copy(f->cmdqv.pool, pool, VCMDQS);
	expect_first_lost(test, vsmmu);
}

/* ... and goes */

static void queue_is_reset_before_it_is_unmapped(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *hw_queue;

	start_queue(test, vsmmu, 0);
	hw_queue = start_queue(test, vsmmu, 1);
	dirty_queue(f, FIRST + 1);
	hw_queue->destroy(hw_queue);
	expect_reset(test, FIRST + 1,
		     (struct access){ WR, TEGRA241_CMDQ_ALLOC(FIRST + 1),
				      alloc_val(VINTF, 1, false) });
	KUNIT_EXPECT_EQ(test,
			num_writes(f, TEGRA241_CMDQ_ALLOC(FIRST + 1)), 1);
}

static void expect_reset_after_unmapping(struct kunit *test)
{
	struct fixture *f = test->priv;

	expect_order(test,
		     { WR, TEGRA241_CMDQ_ALLOC(FIRST),
		       alloc_val(VINTF, 0, false) },
		     { WR, page0(FIRST, VCMDQ_CONFIG), 0 },
		     { RD, page0(FIRST, VCMDQ_STATUS), 1 },
		     { RD, page0(FIRST, VCMDQ_STATUS), 0 },
		     { FLUSH },
		     { WR, page0(FIRST, VCMDQ_PROD), 0 },
		     { WR, page0(FIRST, VCMDQ_CONS), 0 },
		     { WR, page1(FIRST, VCMDQ_BASE), 0 });
	KUNIT_EXPECT_EQ(test, get(f, page0(FIRST, VCMDQ_CONFIG)), 0);
}

static void queue_enabled_again_is_disabled_again(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *hw_queue = start_queue(test, vsmmu, 0);

	f->enables_again = true;
	hw_queue->destroy(hw_queue);
	expect_reset_after_unmapping(test);
}

/* Its CONFIG says that it is disabled */
static void queue_that_still_runs_is_disabled_again(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *hw_queue = start_queue(test, vsmmu, 0);

	f->enables_again = true;
	f->toggles = true;
	hw_queue->destroy(hw_queue);
	expect_reset_after_unmapping(test);
}

/* Until it is unmapped, the guest has it run */
static void queue_that_its_guest_holds_is_cleared_at_last(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *hw_queue = start_queue(test, vsmmu, 0);

	dirty_queue(f, FIRST);
	f->holds = page0(FIRST, VCMDQ_STATUS);
	hw_queue->destroy(hw_queue);
	expect_reset_after_unmapping(test);
	KUNIT_EXPECT_EQ(test, num_writes(f, page0(FIRST, VCMDQ_PROD)), 1);
	KUNIT_EXPECT_EQ(test, num_writes(f, page1(FIRST, VCMDQ_BASE)), 1);
}

#define PAGES		4

static void free_pages_of_queue(void *mem)
{
	free_pages_exact(mem, PAGES * PAGE_SIZE);
}

/* A queue in pages that are there, as far behind their start as it is long */
static struct iommufd_hw_queue *start_in_pages(struct kunit *test,
					       struct arm_vsmmu *vsmmu,
					       unsigned int index, u64 length,
					       void **mem)
{
	struct iommufd_hw_queue *hw_queue = new_queue(test, vsmmu, index);
	struct fixture *f = test->priv;

	*mem = alloc_pages_exact(PAGES * PAGE_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, *mem);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, free_pages_of_queue,
						  *mem));
	hw_queue->length = length;
	KUNIT_ASSERT_EQ(test, 0,
			vsmmu->core.ops->hw_queue_init(hw_queue,
						       virt_to_phys(*mem) +
							       length));
	f->num_accesses = 0;
	return hw_queue;
}

/* Bits of the pages that are kept; they are not, after that */
static unsigned int kept(void *mem)
{
	unsigned int n, map = 0;

	for (n = 0; n < PAGES; n++) {
		struct page *page = virt_to_page(mem + n * PAGE_SIZE);

		if (page_count(page) == 2) {
			map |= BIT(n);
			put_page(page);
		}
	}
	return map;
}

static void queue_that_does_not_stop_is_lost(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *hw_queue;
	void *mem;

	hw_queue = start_in_pages(test, vsmmu, 0, 2 * PAGE_SIZE, &mem);
	dirty_queue(f, FIRST);
	f->frozen = page0(FIRST, VCMDQ_STATUS);
	hw_queue->destroy(hw_queue);
	KUNIT_EXPECT_EQ(test, get(f, TEGRA241_CMDQ_ALLOC(FIRST)) & 1, 0);
	expect_not_cleared(test, FIRST);
	/* The two pages that it may still read */
	KUNIT_EXPECT_EQ(test, kept(mem), 0xc);

	start_queue(test, vsmmu, 0);
	KUNIT_EXPECT_EQ(test, get(f, TEGRA241_CMDQ_ALLOC(FIRST + 2)),
			alloc_val(VINTF, 0, true));
	expect_first_lost(test, vsmmu);
}

static void page_is_kept_for_a_part_of_it(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommufd_hw_queue *hw_queue;
	void *mem;

	hw_queue = start_in_pages(test, start_guest(test), 0, PAGE_SIZE / 2,
				  &mem);
	f->frozen = page0(FIRST, VCMDQ_STATUS);
	set(f, f->frozen, 1);
	hw_queue->destroy(hw_queue);
	KUNIT_EXPECT_EQ(test, kept(mem), 1);
}

static void memory_of_a_queue_that_stops_is_not_kept(struct kunit *test)
{
	struct iommufd_hw_queue *hw_queue;
	void *mem;

	hw_queue = start_in_pages(test, start_guest(test), 0, PAGE_SIZE, &mem);
	hw_queue->destroy(hw_queue);
	KUNIT_EXPECT_EQ(test, kept(mem), 0);
}

static void queue_of_the_pool_that_does_not_stop_is_lost(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *third;
	void *mem;

	start_queue(test, vsmmu, 0);
	start_queue(test, vsmmu, 1);
	third = start_in_pages(test, vsmmu, 2, PAGE_SIZE, &mem);
	f->frozen = page0(THIRD, VCMDQ_STATUS);
	set(f, f->frozen, 1);
	third->destroy(third);
	KUNIT_EXPECT_EQ(test, kept(mem), 2);
	KUNIT_EXPECT_TRUE(test, test_bit(THIRD, f->cmdqv.pool));
	destroy_guest(vsmmu);
	__set_bit(THIRD, f->pool);
	expect_nothing_taken(test);
}

static void queue_of_the_pool_goes_back_there(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_hw_queue *third;

	start_queue(test, vsmmu, 0);
	start_queue(test, vsmmu, 1);
	third = start_queue(test, vsmmu, 2);
	KUNIT_EXPECT_TRUE(test, test_bit(THIRD, f->cmdqv.pool));
	third->destroy(third);
	KUNIT_EXPECT_FALSE(test, test_bit(THIRD, f->cmdqv.pool));
}

/* Stream IDs */

static void slot_is_complete_before_it_matches(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);

	KUNIT_ASSERT_EQ(test, init_vdevice(new_vdevice(test, vsmmu, VSID)), 0);
	expect_order(test,
		     { WR, vintf(VINTF, VINTF_SID_REPLACE(0)), SID },
		     { WR, vintf(VINTF, VINTF_SID_MATCH(0)), VSID << 1 | 1 });
	KUNIT_EXPECT_EQ(test, num_all_writes(f), 2);
}

static void slot_matches_no_more_before_it_is_cleared(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_vdevice *vdev;

	start_vdevice(test, vsmmu, VSID);
	vdev = start_vdevice(test, vsmmu, VSID + 1);
	vdev->destroy(vdev);
	expect_order(test,
		     { WR, vintf(VINTF, VINTF_SID_MATCH(1)), 0 },
		     { WR, vintf(VINTF, VINTF_SID_REPLACE(1)), 0 });
	KUNIT_EXPECT_EQ(test, num_all_writes(f), 2);
}

struct vsid_check {
	u64 vsid;
	int error;
};

static void vsid_has_20_bits(struct kunit *test)
{
	static const struct vsid_check checks[] = {
		{ 0, 0 }, { 0xfffff, 0 },
		{ 0x100000, -EINVAL }, { 0x100001, -EINVAL },
		{ BIT(31), -EINVAL }, { BIT_ULL(32), -EINVAL },
		{ BIT_ULL(63), -EINVAL },
	};
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(checks); n++) {
		struct iommufd_vdevice *vdev =
			new_vdevice(test, vsmmu, checks[n].vsid);

		f->num_accesses = 0;
		KUNIT_EXPECT_EQ_MSG(test, init_vdevice(vdev), checks[n].error,
				    "virtual stream ID 0x%llx", checks[n].vsid);
		KUNIT_EXPECT_EQ(test, f->num_accesses, checks[n].error ? 0 : 2);
		KUNIT_EXPECT_EQ(test, !vdev->destroy, !!checks[n].error);
		if (!checks[n].error)
			expect_last(test, WR,
				    vintf(VINTF, VINTF_SID_MATCH(n)),
				    checks[n].vsid << 1 | 1);
	}
}

/* What a slot can't hold would make it stand for another device */
static void sid_has_20_bits(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_vdevice *vdev = new_vdevice(test, vsmmu, VSID);

	master_of(vdev)->streams->id = 0x100000 | SID;
	KUNIT_EXPECT_EQ(test, init_vdevice(vdev), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, f->num_accesses, 0);
	KUNIT_EXPECT_NULL(test, vdev->destroy);
}

static void device_has_one_sid(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_vdevice *vdev = new_vdevice(test, vsmmu, VSID);

	master_of(vdev)->num_streams = 2;
	KUNIT_EXPECT_EQ(test, init_vdevice(vdev), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, f->num_accesses, 0);
}

static void each_device_has_a_slot_as_long_as_there_are(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_vdevice *vdevs[SLOTS], *vdev;
	unsigned int n;

	for (n = 0; n < SLOTS; n++) {
		vdevs[n] = start_vdevice(test, vsmmu, n);
		KUNIT_EXPECT_EQ(test, n << 1 | 1,
				get(f, vintf(VINTF, VINTF_SID_MATCH(n))));
	}
	vdev = new_vdevice(test, vsmmu, VSID);
	KUNIT_EXPECT_EQ(test, init_vdevice(vdev), -ENOSPC);
	KUNIT_EXPECT_EQ(test, f->num_accesses, 0);

	vdevs[7]->destroy(vdevs[7]);
	KUNIT_EXPECT_EQ(test, init_vdevice(vdev), 0);
	KUNIT_EXPECT_EQ(test, VSID << 1 | 1,
			get(f, vintf(VINTF, VINTF_SID_MATCH(7))));
}

static void slots_are_a_vms_own(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommufd_vdevice *vdev = NULL;
	unsigned int g;

	f->cmdqv.num_sid_slots = 1;
	for (g = 0; g < 2; g++)
		vdev = start_vdevice(test, start_guest(test), VSID + g);
	KUNIT_EXPECT_EQ(test, get(f, vintf(1, VINTF_SID_MATCH(0))),
			VSID << 1 | 1);
	KUNIT_EXPECT_EQ(test, get(f, vintf(2, VINTF_SID_MATCH(0))),
			(VSID + 1) << 1 | 1);
	vdev->destroy(vdev);
	KUNIT_EXPECT_EQ(test, get(f, vintf(1, VINTF_SID_MATCH(0))),
			VSID << 1 | 1);
}

/* Errors */

static void free_events(void *data)
{
	struct iommufd_veventq *veventq = data;
	struct iommufd_vevent *event, *next;

	list_for_each_entry_safe(event, next, &veventq->events, item)
		kfree(event);
}

/* With room for any number of events */
static struct iommufd_veventq *add_veventq(struct kunit *test,
					   struct arm_vsmmu *vsmmu)
{
	struct iommufd_veventq *veventq;

	veventq = kunit_kzalloc(test, sizeof(*veventq), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, veventq);
	veventq->viommu = &vsmmu->core;
	veventq->type = IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV;
	veventq->depth = U32_MAX;
	spin_lock_init(&veventq->lock);
	INIT_LIST_HEAD(&veventq->events);
	init_waitqueue_head(&veventq->wait_queue);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, free_events, veventq));
	list_add(&veventq->item, &vsmmu->core.veventqs);
	return veventq;
}

static unsigned int num_events(struct iommufd_veventq *veventq)
{
	return READ_ONCE(veventq->num_events);
}

/* A queue of a VINTF is in error, and none of another VINTF */
static void set_error(struct fixture *f, unsigned int idx, unsigned int lidx)
{
	unsigned int m;

	for (m = 0; m < 2; m++)
		set(f, TEGRA241_VINTF_ERR_MAP(m),
		    idx / 32 == m ? BIT(idx % 32) : 0);
	for (m = 0; m < 4; m++)
		set(f, vintf(idx, VINTF_LVCMDQ_ERR_MAP(m)),
		    lidx / 32 == m ? BIT(lidx % 32) : 0);
}

static void event_tells_which_queue(struct kunit *test)
{
	static const unsigned int lidxs[] = { 0, 31, 32, 63, 64, 95, 96, 127 };
	struct fixture *f = test->priv;
	struct iommufd_veventq *veventq = add_veventq(test, start_guest(test));
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(lidxs); n++) {
		__le64 map[2] = {};
		struct iommufd_vevent *event;

		map[lidxs[n] / 64] = cpu_to_le64(BIT_ULL(lidxs[n] % 64));
		set_error(f, VINTF, lidxs[n]);
		KUNIT_EXPECT_TRUE(test, tegra241_guests_handle_errors(&f->cmdqv));
		KUNIT_ASSERT_EQ(test, num_events(veventq), n + 1);
		event = list_last_entry(&veventq->events, struct iommufd_vevent,
					item);
		KUNIT_ASSERT_EQ(test, event->len, sizeof(map));
		KUNIT_EXPECT_MEMEQ(test, event->data, map, sizeof(map));
	}
}

static void vintf_without_error_is_not_reported(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommufd_veventq *veventq = add_veventq(test, start_guest(test));

	/* Whatever its own map says */
	set(f, vintf(VINTF, VINTF_LVCMDQ_ERR_MAP(0)), ~0);
	KUNIT_EXPECT_FALSE(test, tegra241_guests_handle_errors(&f->cmdqv));
	/* Others, also those that nobody has, have errors */
	set(f, TEGRA241_VINTF_ERR_MAP(0), ~(u32)BIT(VINTF));
	set(f, TEGRA241_VINTF_ERR_MAP(1), ~0);
	KUNIT_EXPECT_FALSE(test, tegra241_guests_handle_errors(&f->cmdqv));
	KUNIT_EXPECT_EQ(test, num_events(veventq), 0);
	KUNIT_EXPECT_EQ(test, num_all_writes(f), 0);
}

static void error_is_reported_to_the_vm_that_has_it(struct kunit *test)
{
	static const unsigned int idxs[] = { 1, 31, 32, 63 };
	struct iommufd_veventq *veventqs[ARRAY_SIZE(idxs)];
	struct fixture *f = test->priv;
	unsigned int n, other;

	bitmap_fill(f->cmdqv.vintfs, VINTFS);
	for (n = 0; n < ARRAY_SIZE(idxs); n++) {
		__clear_bit(idxs[n], f->cmdqv.vintfs);
		veventqs[n] = add_veventq(test, start_guest(test));
	}
	for (n = 0; n < ARRAY_SIZE(idxs); n++) {
		set_error(f, idxs[n], 0);
		KUNIT_EXPECT_TRUE(test, tegra241_guests_handle_errors(&f->cmdqv));
		for (other = 0; other < ARRAY_SIZE(idxs); other++)
			KUNIT_EXPECT_EQ(test, num_events(veventqs[other]),
					other <= n);
	}
}

static void error_needs_no_veventq(struct kunit *test)
{
	struct fixture *f = test->priv;

	start_guest(test);
	set_error(f, VINTF, 0);
	KUNIT_EXPECT_TRUE(test, tegra241_guests_handle_errors(&f->cmdqv));
}

static void destroyed_guest_gets_no_report(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = start_guest(test);
	struct iommufd_veventq *veventq = add_veventq(test, vsmmu);

	set_error(f, VINTF, 0);
	destroy_guest(vsmmu);
	KUNIT_EXPECT_FALSE(test, tegra241_guests_handle_errors(&f->cmdqv));
	KUNIT_EXPECT_EQ(test, num_events(veventq), 0);
}

/* As many in one interval; false if this machine is too slow for it */
static bool report(struct fixture *f, unsigned int num)
{
	unsigned long start = jiffies;

	while (num--)
		tegra241_guests_handle_errors(&f->cmdqv);
	return time_before(jiffies, start + msecs_to_jiffies(INTERVAL_MS));
}

static unsigned int masked(struct fixture *f, unsigned int idx)
{
	return get(f, TEGRA241_VINTF_INT_MASK(idx / 32)) >> idx % 32 & 1;
}

static bool unmasked_in_time(struct fixture *f, unsigned int idx)
{
	unsigned int n;

	for (n = 0; n < 500 && masked(f, idx); n++)
		msleep(20);
	return !masked(f, idx);
}

/* A VINTF that has just been masked; its worker does not appear in the log */
static struct arm_vsmmu *silence_guest(struct kunit *test, unsigned int idx)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu;
	unsigned int n;

	bitmap_fill(f->cmdqv.vintfs, VINTFS);
	__clear_bit(idx, f->cmdqv.vintfs);
	for (n = 0; n < 20; n++) {
		vsmmu = start_guest(test);
		add_veventq(test, vsmmu);
		set_error(f, idx, 0);
		if (report(f, MAX_REPORTS + 1))
			return vsmmu;
		destroy_guest(vsmmu);
	}
	kunit_skip(test, "this machine is too slow");
}

static struct iommufd_veventq *veventq_of(struct arm_vsmmu *vsmmu)
{
	return list_first_entry(&vsmmu->core.veventqs, struct iommufd_veventq,
				item);
}

static void some_reports_do_not_mask_the_vintf(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommufd_veventq *veventq = add_veventq(test, start_guest(test));
	unsigned int n;

	set_error(f, VINTF, 0);
	for (n = 1; n <= 3; n++) {
		report(f, MAX_REPORTS);
		KUNIT_EXPECT_EQ(test, num_events(veventq), n * MAX_REPORTS);
		KUNIT_EXPECT_EQ(test, num_all_writes(f), 0);
		/* The next ones are of another interval */
		msleep(INTERVAL_MS + 20);
	}
}

static void many_reports_mask_the_vintf(struct kunit *test)
{
	static const unsigned int idxs[] = { 1, 31, 32, 63 };
	struct fixture *f = test->priv;
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(idxs); n++) {
		u32 mask = TEGRA241_VINTF_INT_MASK(idxs[n] / 32);
		u32 ours = BIT(idxs[n] % 32);
		u32 others = 0x5a5a5a5a & ~ours;
		struct arm_vsmmu *vsmmu;

		set(f, TEGRA241_VINTF_INT_MASK(0), 0x5a5a5a5a);
		set(f, TEGRA241_VINTF_INT_MASK(1), 0x5a5a5a5a);
		set(f, mask, others);
		vsmmu = silence_guest(test, idxs[n]);
		expect_order(test, { WR, mask, others | ours });
		KUNIT_EXPECT_EQ(test, num_all_writes(f), 1);
		destroy_guest(vsmmu);
	}
}

static void silent_guest_is_not_reported_when_another_interrupts(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int n;

	for (n = 0; n < 20; n++) {
		struct arm_vsmmu *vsmmu = silence_guest(test, 33);
		unsigned int num = num_events(veventq_of(vsmmu));
		bool handled = tegra241_guests_handle_errors(&f->cmdqv);
		bool silent = masked(f, 33);

		num = num_events(veventq_of(vsmmu)) - num;
		destroy_guest(vsmmu);
		if (silent) {
			KUNIT_EXPECT_FALSE(test, handled);
			KUNIT_EXPECT_EQ(test, num, 0);
			return;
		}
	}
	kunit_skip(test, "this machine is too slow");
}

static void silence_ends_with_a_report_of_what_stands(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = silence_guest(test, 33);
	struct iommufd_veventq *veventq = veventq_of(vsmmu);
	unsigned int n;

	KUNIT_EXPECT_TRUE(test, unmasked_in_time(f, 33));
	for (n = 0; n < 500 && num_events(veventq) < MAX_REPORTS + 2; n++)
		msleep(20);
	destroy_guest(vsmmu);
	KUNIT_EXPECT_EQ(test, num_events(veventq), MAX_REPORTS + 2);
}

static void silence_ends_without_a_word_if_nothing_stands(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct iommufd_veventq *veventq;
	struct arm_vsmmu *vsmmu;

	f->acknowledges = true;
	vsmmu = silence_guest(test, 3);
	veventq = veventq_of(vsmmu);
	KUNIT_EXPECT_TRUE(test, unmasked_in_time(f, 3));
	/* The worker, if it is still at it, is waited for */
	destroy_guest(vsmmu);
	KUNIT_EXPECT_EQ(test, num_events(veventq), MAX_REPORTS + 1);
}

static void guest_destroyed_in_silence_leaves_no_mask(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu = silence_guest(test, 33);
	struct iommufd_veventq *veventq = veventq_of(vsmmu);
	unsigned int num;

	destroy_guest(vsmmu);
	KUNIT_EXPECT_EQ(test, masked(f, 33), 0);

	/* Nor is there a worker left, which would unmask and report */
	num = num_events(veventq);
	set(f, TEGRA241_VINTF_INT_MASK(1), ~0);
	msleep(3 * INTERVAL_MS);
	KUNIT_EXPECT_EQ(test, masked(f, 33), 1);
	KUNIT_EXPECT_EQ(test, num_events(veventq), num);
}

/* Interrupts of guests that acknowledge before anybody looks. As report() */
static bool unseen(struct fixture *f, unsigned int num)
{
	unsigned long start = jiffies;

	while (num--)
		tegra241_guests_note_unseen(&f->cmdqv);
	return time_before(jiffies, start + msecs_to_jiffies(INTERVAL_MS));
}

static void some_unseen_errors_mask_nobody(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int n;

	start_guest(test);
	for (n = 0; n < 3; n++) {
		unseen(f, MAX_REPORTS);
		KUNIT_EXPECT_EQ(test, f->num_accesses, 0);
		/* The next ones are of another interval */
		msleep(INTERVAL_MS + 20);
	}
}

/* Guests of VINTFs 1, 33 and 63, all silent if this machine is fast enough */
static void silence_three_guests(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int n;

	bitmap_fill(f->cmdqv.vintfs, VINTFS);
	__clear_bit(1, f->cmdqv.vintfs);
	__clear_bit(33, f->cmdqv.vintfs);
	__clear_bit(63, f->cmdqv.vintfs);
	for (n = 0; n < 3; n++)
		add_veventq(test, start_guest(test));
	for (n = 0; n < 20; n++) {
		msleep(INTERVAL_MS + 20);
		if (unseen(f, MAX_REPORTS + 1))
			return;
	}
	kunit_skip(test, "this machine is too slow");
}

static void many_unseen_errors_mask_every_guest(struct kunit *test)
{
	struct fixture *f = test->priv;

	silence_three_guests(test);
	expect_order(test, { WR, TEGRA241_VINTF_INT_MASK(0), BIT(1) },
		     { WR, TEGRA241_VINTF_INT_MASK(1), BIT(1) },
		     { WR, TEGRA241_VINTF_INT_MASK(1), BIT(1) | BIT(31) });
	KUNIT_EXPECT_EQ(test, num_all_writes(f), 3);
}

static void silence_for_unseen_errors_ends_by_itself(struct kunit *test)
{
	static const unsigned int idxs[] = { 1, 33, 63 };
	struct iommufd_veventq *veventqs[ARRAY_SIZE(idxs)];
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu;
	unsigned int n;

	set_error(f, 33, 0);
	silence_three_guests(test);
	for (n = 0; n < ARRAY_SIZE(idxs); n++) {
		vsmmu = (struct arm_vsmmu *)f->cmdqv.guests[idxs[n]];
		veventqs[n] = veventq_of(vsmmu);
		KUNIT_EXPECT_TRUE(test, unmasked_in_time(f, idxs[n]));
		/* The worker, if it is still at it, is waited for */
		destroy_guest(vsmmu);
	}
	/* What stands then is reported */
	for (n = 0; n < ARRAY_SIZE(idxs); n++)
		KUNIT_EXPECT_EQ(test, num_events(veventqs[n]) != 0,
				idxs[n] == 33);
}

static void unseen_errors_leave_the_silent_alone(struct kunit *test)
{
	struct fixture *f = test->priv;

	start_guest(test);
	/* Nobody unmasks this one but who masked it */
	set(f, TEGRA241_VINTF_INT_MASK(0), BIT(VINTF));
	unseen(f, 2 * MAX_REPORTS + 2);
	KUNIT_EXPECT_EQ(test, num_all_writes(f), 0);
}

/* What user space is told before */

static void expect_log2vcmdqs(struct kunit *test, unsigned int log2vcmdqs)
{
	u32 length = 0, type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
	const struct iommu_hw_info_tegra241_cmdqv expected = {
		.version = 1, .log2vcmdqs = log2vcmdqs, .log2vsids = 4,
	};
	struct fixture *f = test->priv;
	void *info;

	info = tegra241_guest_hw_info(&f->smmu, &length, &type);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, info);
	KUNIT_EXPECT_EQ(test, length, sizeof(expected));
	KUNIT_EXPECT_EQ(test, type, IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV);
	KUNIT_EXPECT_MEMEQ(test, info, &expected, sizeof(expected));
	kfree(info);
}

static void hw_info_tells_what_the_pool_has_left(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int left, log2 = 0;

	bitmap_fill(f->cmdqv.pool, VCMDQS);
	expect_log2vcmdqs(test, 0);
	for (left = 1; left <= VCMDQS; left++) {
		__clear_bit((left * 37) % VCMDQS, f->cmdqv.pool);
		if (left == 2 << log2)
			log2++;
		expect_log2vcmdqs(test, log2);
	}
}

static void indexes_are_those_that_hw_info_told(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct arm_vsmmu *vsmmu;

	/* 9 are left, so 8 */
	bitmap_set(f->cmdqv.pool, 0, VCMDQS - 9);
	expect_log2vcmdqs(test, 3);
	vsmmu = start_guest(test);
	KUNIT_EXPECT_EQ(test, init_queue(new_queue(test, vsmmu, 7)), -EIO);
	KUNIT_EXPECT_EQ(test, init_queue(new_queue(test, vsmmu, 8)), -EINVAL);
}

static void slots_are_told(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int log2;

	for (log2 = 0; log2 <= 4; log2++) {
		u32 length, type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
		struct iommu_hw_info_tegra241_cmdqv *info;

		f->cmdqv.num_sid_slots = 1 << log2;
		info = tegra241_guest_hw_info(&f->smmu, &length, &type);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, info);
		KUNIT_EXPECT_EQ(test, info->log2vsids, log2);
		kfree(info);
	}
}

static void hw_info_of_another_type_is_refused(struct kunit *test)
{
	struct fixture *f = test->priv;
	u32 length, type;

	for (type = 0; type < 8; type++)
		if (type != 3)
			KUNIT_EXPECT_PTR_EQ(test, ERR_PTR(-EOPNOTSUPP),
					    tegra241_guest_hw_info(&f->smmu,
								   &length,
								   &type));
}

static void one_vintf_is_the_kernels(struct kunit *test)
{
	u32 length, type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
	struct fixture *f = test->priv;

	f->cmdqv.num_vintfs = 1;
	KUNIT_EXPECT_EQ(test, 0,
			tegra241_guest_size(&f->smmu,
					    IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV));
	KUNIT_EXPECT_PTR_EQ(test, ERR_PTR(-EOPNOTSUPP),
			    tegra241_guest_hw_info(&f->smmu, &length, &type));
}

static void viommu_of_another_type_has_no_size(struct kunit *test)
{
	struct fixture *f = test->priv;
	u32 type;

	for (type = 0; type < 8; type++)
		KUNIT_EXPECT_EQ(test, type == 2,
				tegra241_guest_size(&f->smmu, type) != 0);
}

static void set_up_block(struct fixture *f, struct device *dev)
{
	f->smmu.dev = dev;
	f->smmu.base = reg_at(f, SMMU_REGS);
	f->smmu.impl_priv = &f->cmdqv;
	/* Whatever else is there */
	set(f, SMMU_REGS + ARM_SMMU_IDR1, CMDQS << 21 | 0xfc1fffff);

	f->cmdqv.smmu = &f->smmu;
	f->cmdqv.base = reg_at(f, 0);
	f->cmdqv.phys = PHYS;
	f->cmdqv.irq = -ENXIO;
	f->cmdqv.num_vcmdqs = VCMDQS;
	f->cmdqv.num_vintfs = VINTFS;
	f->cmdqv.num_sid_slots = SLOTS;
	mutex_init(&f->cmdqv.pool_lock);
	bitmap_set(f->cmdqv.pool, 0, KERNEL_VCMDQS);
	__set_bit(0, f->cmdqv.vintfs);
	bitmap_copy(f->pool, f->cmdqv.pool, VCMDQS);
	bitmap_copy(f->vintfs, f->cmdqv.vintfs, VINTFS);
}

static int tegra241_cmdqv_user_test_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	struct device *dev = kunit_device_register(test, "tegra241-cmdqv");
	unsigned long user;

	KUNIT_ASSERT_NOT_NULL(test, f);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	f->mem = kunit_kzalloc(test, REGS_BYTES, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->mem);
	f->frozen = NONE;
	f->following = NONE;
	f->holds = NONE;
	set_up_block(f, dev);
	mt_init_flags(&f->ictx.mt_mmap, MT_FLAGS_ALLOC_RANGE);

	user = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, user, 0);
	KUNIT_ASSERT_LT(test, user, TASK_SIZE);
	f->user_data.uptr = (void __user *)user;
	f->user_data.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV;
	f->user_data.len = 16;
	test->priv = f;

	kunit_activate_static_stub(test, tegra241_readl, fake_readl);
	kunit_activate_static_stub(test, tegra241_writel, fake_writel);
	kunit_activate_static_stub(test, tegra241_writeq, fake_writeq);
	kunit_activate_static_stub(test, tegra241_cmdqv_flush, fake_flush);
	return 0;
}

static void tegra241_cmdqv_user_test_exit(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int n;

	if (!f)
		return;

	f->frozen = NONE;
	for (n = 0; n < VINTFS; n++)
		if (f->cmdqv.guests[n])
			/* Starts with a vSMMU, see tegra241_guest_size() */
			destroy_guest((struct arm_vsmmu *)f->cmdqv.guests[n]);
	mtree_destroy(&f->ictx.mt_mmap);
	KUNIT_EXPECT_EQ(test, f->wild, 0);
}

static struct kunit_case tegra241_cmdqv_user_test_cases[] = {
	KUNIT_CASE(slots_are_cleared_before_the_vintf_is_enabled),
	KUNIT_CASE(slots_that_are_not_there_are_not_touched),
	KUNIT_CASE(vintf_has_the_vmid_before_it_is_enabled),
	KUNIT_CASE(vintf_is_waited_for),
	KUNIT_CASE(user_space_learns_where_page_0_is),
	KUNIT_CASE_PARAM(set_up_fails_and_takes_nothing,
			 set_up_failures_gen_params),
	KUNIT_CASE(set_up_needs_data),
	KUNIT_CASE(destroyed_vintf_is_disabled_and_waited_for),
	KUNIT_CASE(vintf_that_does_not_stop_is_lost),
	KUNIT_CASE(vintf_that_does_not_stop_when_set_up_fails_is_lost),
	KUNIT_CASE(everything_is_given_back),
	KUNIT_CASE(every_vintf_can_be_had),
	KUNIT_CASE_PARAM(queue_is_one_that_the_hardware_takes,
			 queue_checks_gen_params),
	KUNIT_CASE(largest_queue_is_that_of_the_smmu),
	KUNIT_CASE(index_is_used_once),
	KUNIT_CASE(queue_depends_on_the_one_before),
	KUNIT_CASE(queue_does_not_follow_one_that_goes),
	KUNIT_CASE(other_types_of_queues_are_unknown),
	KUNIT_CASE(queue_is_reset_before_it_has_a_base),
	KUNIT_CASE(queue_is_mapped_at_last),
	KUNIT_CASE(base_tells_log2_of_the_entries),
	KUNIT_CASE(error_is_acknowledged_where_there_is_one),
	KUNIT_CASE(two_queues_are_reserved),
	KUNIT_CASE(reserved_queues_stay_the_vms),
	KUNIT_CASE(exhausted_pool_leaves_the_index_free),
	KUNIT_CASE(queue_that_does_not_stop_is_not_mapped),
	KUNIT_CASE(reserved_queue_that_does_not_stop_is_replaced),
	KUNIT_CASE(lost_queue_is_not_replaced_by_what_is_not_there),
	KUNIT_CASE(queue_is_reset_before_it_is_unmapped),
	KUNIT_CASE(queue_enabled_again_is_disabled_again),
	KUNIT_CASE(queue_that_still_runs_is_disabled_again),
	KUNIT_CASE(queue_that_its_guest_holds_is_cleared_at_last),
	KUNIT_CASE(queue_that_does_not_stop_is_lost),
	KUNIT_CASE(page_is_kept_for_a_part_of_it),
	KUNIT_CASE(memory_of_a_queue_that_stops_is_not_kept),
	KUNIT_CASE(queue_of_the_pool_that_does_not_stop_is_lost),
	KUNIT_CASE(queue_of_the_pool_goes_back_there),
	KUNIT_CASE(slot_is_complete_before_it_matches),
	KUNIT_CASE(slot_matches_no_more_before_it_is_cleared),
	KUNIT_CASE(vsid_has_20_bits),
	KUNIT_CASE(sid_has_20_bits),
	KUNIT_CASE(device_has_one_sid),
	KUNIT_CASE(each_device_has_a_slot_as_long_as_there_are),
	KUNIT_CASE(slots_are_a_vms_own),
	KUNIT_CASE(event_tells_which_queue),
	KUNIT_CASE(vintf_without_error_is_not_reported),
	KUNIT_CASE(error_is_reported_to_the_vm_that_has_it),
	KUNIT_CASE(error_needs_no_veventq),
	KUNIT_CASE(destroyed_guest_gets_no_report),
	KUNIT_CASE(some_reports_do_not_mask_the_vintf),
	KUNIT_CASE(many_reports_mask_the_vintf),
	KUNIT_CASE(silent_guest_is_not_reported_when_another_interrupts),
	KUNIT_CASE(silence_ends_with_a_report_of_what_stands),
	KUNIT_CASE(silence_ends_without_a_word_if_nothing_stands),
	KUNIT_CASE(guest_destroyed_in_silence_leaves_no_mask),
	KUNIT_CASE(some_unseen_errors_mask_nobody),
	KUNIT_CASE(many_unseen_errors_mask_every_guest),
	KUNIT_CASE(silence_for_unseen_errors_ends_by_itself),
	KUNIT_CASE(unseen_errors_leave_the_silent_alone),
	KUNIT_CASE(hw_info_tells_what_the_pool_has_left),
	KUNIT_CASE(indexes_are_those_that_hw_info_told),
	KUNIT_CASE(slots_are_told),
	KUNIT_CASE(hw_info_of_another_type_is_refused),
	KUNIT_CASE(one_vintf_is_the_kernels),
	KUNIT_CASE(viommu_of_another_type_has_no_size),
	{}
};

static struct kunit_suite tegra241_cmdqv_user_test_suite = {
	.name = "tegra241-cmdqv-user",
	.init = tegra241_cmdqv_user_test_init,
	.exit = tegra241_cmdqv_user_test_exit,
	.test_cases = tegra241_cmdqv_user_test_cases,
};

kunit_test_suite(tegra241_cmdqv_user_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of what guests own of Tegra241's CMDQ-V");
MODULE_LICENSE("GPL");
