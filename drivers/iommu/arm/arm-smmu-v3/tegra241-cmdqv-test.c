// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the CMDQ-V driver, on registers that are an array
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <kunit/test-bug.h>
#include <kunit/test.h>
#include <linux/dma-mapping.h>
#include <linux/log2.h>

#include "tegra241-cmdqv.h"

#define CPUS		4
#define GRACE		0x4671	/* PARAM: 128 VCMDQs, 64 VINTFs, 16 slots */
#define GRACE_CONFIG	0x00020082
#define REGS_BYTES	TEGRA241_VINTF_PAGE0(1)
#define MAX_WRITES	2048
#define NONE		UINT_MAX
#define FLUSH		(NONE - 1)	/* in the list of writes: a flush */

struct regs_write {
	u32 offset;
	u64 val;
};

/**
 * struct regs - The block that the driver finds
 * @mem: What its registers hold.
 * @writes: All that was written to them.
 * @num_writes: How many of @writes.
 * @hyp_own: HYP_OWN can be set.
 * @frozen_status: Offset of a STATUS register that does not follow its CONFIG,
 *	NONE for no such register, or a page of them.
 * @frozen_mask: Bits of an offset to compare with @frozen_status.
 * @new_gerror: What GERROR changes to once it was read, if not 0.
 */
struct regs {
	u8 *mem;
	struct regs_write writes[MAX_WRITES];
	unsigned int num_writes;
	bool hyp_own;
	u32 frozen_status;
	u32 frozen_mask;
	u32 new_gerror;
};

struct fixture {
	struct regs regs;
	struct arm_smmu_device smmu;
	struct tegra241_cmdqv cmdqv;
};

static struct regs *current_regs(void)
{
	struct fixture *f = kunit_get_current_test()->priv;

	return &f->regs;
}

static u32 offset_of(struct regs *regs, const void __iomem *reg)
{
	return (const u8 __force *)reg - regs->mem;
}

static u32 *word(struct regs *regs, u32 offset)
{
	return (u32 *)(regs->mem + offset);
}

static u32 vcmdq_offset(unsigned int lidx, u32 reg)
{
	return TEGRA241_VINTF_PAGE0(0) + VINTF_LVCMDQ(lidx) + reg;
}

static u32 vcmdq_offset1(unsigned int lidx, u32 reg)
{
	return TEGRA241_VINTF_PAGE1(0) + VINTF_LVCMDQ(lidx) + reg;
}

/* A register of a queue: its offset in the queue's window, else NONE */
static u32 queue_reg(u32 offset)
{
	if (offset < TEGRA241_VINTF_PAGE0(0) ||
	    offset >= TEGRA241_VINTF_PAGE1(0))
		return NONE;
	return offset % VINTF_LVCMDQ(1);
}

static void set_status(struct regs *regs, u32 offset, bool on)
{
	if ((offset & regs->frozen_mask) != regs->frozen_status)
		*word(regs, offset) = on;
}

static u32 fake_readl(const void __iomem *reg)
{
	struct regs *regs = current_regs();
	u32 offset = offset_of(regs, reg);
	u32 val = *word(regs, offset);

	if (queue_reg(offset) == VCMDQ_GERROR && regs->new_gerror)
		*word(regs, offset) = regs->new_gerror;
	return val;
}

static void log_write(struct regs *regs, u32 offset, u64 val)
{
	if (regs->num_writes < MAX_WRITES)
		regs->writes[regs->num_writes++] =
			(struct regs_write){ offset, val };
}

static void fake_writel(u32 val, void __iomem *reg)
{
	struct regs *regs = current_regs();
	u32 offset = offset_of(regs, reg);

	log_write(regs, offset, val);
	if (offset == TEGRA241_VINTF(0) + VINTF_CONFIG && !regs->hyp_own)
		val &= ~VINTF_CONFIG_HYP_OWN;
	*word(regs, offset) = val;

	if (offset == TEGRA241_CONFIG)
		set_status(regs, TEGRA241_STATUS, val & CONFIG_EN);
	else if (offset == TEGRA241_VINTF(0) + VINTF_CONFIG)
		set_status(regs, TEGRA241_VINTF(0) + VINTF_STATUS,
			   val & VINTF_CONFIG_EN);
	else if (queue_reg(offset) == VCMDQ_CONFIG)
		set_status(regs, offset - VCMDQ_CONFIG + VCMDQ_STATUS,
			   val & VCMDQ_CONFIG_EN);
}

static void fake_writeq(u64 val, void __iomem *reg)
{
	struct regs *regs = current_regs();
	u32 offset = offset_of(regs, reg);

	log_write(regs, offset, val);
	*(u64 *)(regs->mem + offset) = val;
}

static void fake_flush(struct tegra241_cmdqv *cmdqv)
{
	log_write(current_regs(), FLUSH, 0);
}

/* The first write to an offset from a position on, or NONE */
static unsigned int find_write(struct regs *regs, unsigned int from, u32 offset)
{
	unsigned int n;

	for (n = from; n < regs->num_writes; n++)
		if (regs->writes[n].offset == offset)
			return n;
	return NONE;
}

static unsigned int find_value(struct regs *regs, u32 offset, u64 val)
{
	unsigned int n;

	for (n = 0; n < regs->num_writes; n++)
		if (regs->writes[n].offset == offset &&
		    regs->writes[n].val == val)
			return n;
	return NONE;
}

/* When a value was written to a queue's register, on page 0 and on page 1 */
static unsigned int when(struct regs *regs, unsigned int lidx, u32 reg, u64 val)
{
	return find_value(regs, vcmdq_offset(lidx, reg), val);
}

static unsigned int when1(struct regs *regs, unsigned int lidx, u32 reg,
			  u64 val)
{
	return find_value(regs, vcmdq_offset1(lidx, reg), val);
}

static void set_param(struct fixture *f, u32 param)
{
	*word(&f->regs, TEGRA241_PARAM) = param;
}

/* The block as probing leaves it, with queues for a number of CPUs */
static void init_structures(struct kunit *test, unsigned int cpus)
{
	struct fixture *f = test->priv;

	KUNIT_ASSERT_EQ(test, tegra241_cmdqv_read_param(&f->cmdqv), 0);
	KUNIT_ASSERT_EQ(test, tegra241_vintf0_init_structures(&f->cmdqv, cpus),
			0);
}

static struct tegra241_vcmdq *start(struct kunit *test)
{
	struct fixture *f = test->priv;

	init_structures(test, CPUS);
	KUNIT_ASSERT_EQ(test, tegra241_cmdqv_start(&f->cmdqv), 0);
	f->regs.num_writes = 0;
	return &f->cmdqv.vintf0.lvcmdqs[1];
}

/* PARAM and what follows from it */

static void param_tells_the_shape(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int q, v, s;

	for (q = 0; q <= 15; q++)
		for (v = 0; v <= 15; v++)
			for (s = 0; s <= 15; s++) {
				bool ok = q <= 7 && v <= 6 && s <= 4;

				set_param(f, s << 12 | v << 8 | q << 4 | 1);
				KUNIT_ASSERT_EQ(test, ok ? 0 : -ENODEV,
						tegra241_cmdqv_read_param(&f->cmdqv));
				if (!ok)
					continue;
				KUNIT_ASSERT_EQ(test, f->cmdqv.num_vcmdqs, 1 << q);
				KUNIT_ASSERT_EQ(test, f->cmdqv.num_vintfs, 1 << v);
				KUNIT_ASSERT_EQ(test, f->cmdqv.num_sid_slots, 1 << s);
			}
}

static void param_of_another_version_is_refused(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int version;

	for (version = 0; version <= 15; version++) {
		set_param(f, (GRACE & ~PARAM_VERSION) | version);
		KUNIT_EXPECT_EQ(test, tegra241_cmdqv_read_param(&f->cmdqv),
				version == 1 ? 0 : -ENODEV);
	}
}

static void kernel_takes_half_the_pool_or_all(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int q, v, cpus;

	for (q = 0; q <= 7; q++)
		for (v = 0; v <= 6; v++)
			for (cpus = 1; cpus <= 300; cpus++) {
				unsigned int n = 1 << q;

				if (v && n > 1)
					n /= 2;
				f->cmdqv.num_vcmdqs = 1 << q;
				f->cmdqv.num_vintfs = 1 << v;
				KUNIT_ASSERT_EQ(test, min(n, cpus),
						tegra241_cmdqv_kernel_vcmdqs(&f->cmdqv,
									     0, cpus));
			}
}

static void user_sets_the_number_of_queues(struct kunit *test)
{
	static const struct {
		int wanted;
		unsigned int got;
	} cases[] = {
		{ 1, 1 }, { 8, 8 }, { 9, 8 }, { 32, 8 },
		/* out of range */
		{ 33, 8 }, { -1, 8 }, { INT_MAX, 8 }, { INT_MIN, 8 },
	};
	struct fixture *f = test->priv;
	unsigned int n;

	f->cmdqv.num_vcmdqs = 32;
	f->cmdqv.num_vintfs = 2;
	for (n = 0; n < ARRAY_SIZE(cases); n++)
		KUNIT_EXPECT_EQ(test, cases[n].got,
				tegra241_cmdqv_kernel_vcmdqs(&f->cmdqv,
							     cases[n].wanted, 8));
	/* More than the half that is the default */
	KUNIT_EXPECT_EQ(test, 24,
			tegra241_cmdqv_kernel_vcmdqs(&f->cmdqv, 24, 100));
}

static void cpus_share_queues_evenly(struct kunit *test)
{
	struct tegra241_vintf vintf = {};
	unsigned int queues, cpus, cpu;

	for (queues = 1; queues <= TEGRA241_MAX_VCMDQS; queues *= 2)
		for (cpus = queues; cpus <= 300; cpus++) {
			unsigned int users[TEGRA241_MAX_VCMDQS] = {};

			vintf.num_lvcmdqs = queues;
			for (cpu = 0; cpu < cpus; cpu++) {
				unsigned int lidx =
					tegra241_vintf_cpu_to_lidx(&vintf, cpu,
								   cpus);

				KUNIT_ASSERT_LT(test, lidx, queues);
				users[lidx]++;
			}
			for (cpu = 0; cpu < queues; cpu++) {
				KUNIT_ASSERT_GE(test, users[cpu], cpus / queues);
				KUNIT_ASSERT_LE(test, users[cpu],
						DIV_ROUND_UP(cpus, queues));
			}
		}
}

static void guest_queue_takes_three_opcodes(struct kunit *test)
{
	unsigned int op;

	for (op = 0; op < 256; op++) {
		struct arm_smmu_cmdq_ent ent = { .opcode = op };

		KUNIT_EXPECT_EQ(test, tegra241_guest_supports_cmd(&ent),
				op == CMDQ_OP_TLBI_NH_ASID ||
				op == CMDQ_OP_TLBI_NH_VA ||
				op == CMDQ_OP_ATC_INV);
	}
}

/* Structures */

static void queues_come_from_the_pool_once(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int lidx;

	/* Somebody else has these */
	__set_bit(0, f->cmdqv.pool);
	__set_bit(2, f->cmdqv.pool);
	init_structures(test, CPUS);

	KUNIT_EXPECT_EQ(test, bitmap_weight(f->cmdqv.pool, 128), CPUS + 2);
	for (lidx = 0; lidx < CPUS; lidx++) {
		struct tegra241_vcmdq *vcmdq = &f->cmdqv.vintf0.lvcmdqs[lidx];
		static const u16 idx[CPUS] = { 1, 3, 4, 5 };

		KUNIT_EXPECT_EQ(test, vcmdq->idx, idx[lidx]);
		KUNIT_EXPECT_EQ(test, vcmdq->lidx, lidx);
	}
}

static void exhausted_pool_is_an_error(struct kunit *test)
{
	struct fixture *f = test->priv;

	set_param(f, 0x4021);
	KUNIT_ASSERT_EQ(test, tegra241_cmdqv_read_param(&f->cmdqv), 0);
	__set_bit(1, f->cmdqv.pool);
	KUNIT_EXPECT_EQ(test, tegra241_vintf0_init_structures(&f->cmdqv, CPUS),
			-ENOSPC);
}

static void queues_are_small_aligned_and_apart(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct tegra241_vintf *vintf = &f->cmdqv.vintf0;
	unsigned int lidx;

	init_structures(test, CPUS);
	KUNIT_EXPECT_EQ(test, vintf->queue_bytes, CPUS * 128 * 16);
	for (lidx = 0; lidx < CPUS; lidx++) {
		struct arm_smmu_queue *q = &vintf->lvcmdqs[lidx].cmdq.q;

		KUNIT_EXPECT_EQ(test, q->base_dma,
				vintf->queue_dma + lidx * 128 * 16);
		KUNIT_EXPECT_TRUE(test, IS_ALIGNED(q->base_dma, 128 * 16));
		KUNIT_EXPECT_EQ(test, q->q_base, q->base_dma | 7);
	}
}

static void queue_has_room_for_a_batch_of_each_of_its_cpus(struct kunit *test)
{
	struct fixture *f = test->priv;

	set_param(f, 0x4011);
	init_structures(test, 64);
	KUNIT_EXPECT_GE(test,
			1 << f->cmdqv.vintf0.lvcmdqs[0].cmdq.q.llq.max_n_shift,
			32 * (CMDQ_BATCH_ENTRIES + 1));
}

static void queue_is_no_larger_than_the_hardware_takes(struct kunit *test)
{
	struct fixture *f = test->priv;

	f->smmu.cmdq.q.llq.max_n_shift = 5;
	init_structures(test, 64);
	KUNIT_EXPECT_EQ(test,
			f->cmdqv.vintf0.lvcmdqs[0].cmdq.q.llq.max_n_shift, 5);
}

static void no_memory_is_an_error(struct kunit *test)
{
	struct fixture *f = test->priv;

	f->smmu.dev->coherent_dma_mask = DMA_BIT_MASK(12);
	KUNIT_ASSERT_EQ(test, tegra241_cmdqv_read_param(&f->cmdqv), 0);
	KUNIT_EXPECT_EQ(test, tegra241_vintf0_init_structures(&f->cmdqv, CPUS),
			-ENOMEM);
}

/* Start */

static void start_keeps_the_other_fields_of_config(struct kunit *test)
{
	struct fixture *f = test->priv;

	start(test);
	KUNIT_EXPECT_EQ(test, *word(&f->regs, TEGRA241_CONFIG),
			GRACE_CONFIG | CONFIG_EN);
}

static void vintf_is_configured_before_it_is_enabled(struct kunit *test)
{
	struct fixture *f = test->priv;
	u32 config = TEGRA241_VINTF(0) + VINTF_CONFIG;
	unsigned int first, second;

	init_structures(test, CPUS);
	KUNIT_ASSERT_EQ(test, tegra241_cmdqv_start(&f->cmdqv), 0);
	first = find_write(&f->regs, 0, config);
	KUNIT_ASSERT_NE(test, first, NONE);
	second = find_write(&f->regs, first + 1, config);
	KUNIT_ASSERT_NE(test, second, NONE);
	KUNIT_EXPECT_EQ(test, f->regs.writes[first].val, VINTF_CONFIG_HYP_OWN);
	KUNIT_EXPECT_EQ(test, f->regs.writes[second].val,
			VINTF_CONFIG_HYP_OWN | VINTF_CONFIG_EN);
	KUNIT_EXPECT_LT(test, find_write(&f->regs, 0, TEGRA241_CONFIG), first);
	KUNIT_EXPECT_LT(test, second,
			find_write(&f->regs, 0, TEGRA241_CMDQ_ALLOC(0)));
}

static void queues_are_mapped_ascending(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int lidx, last = 0;

	init_structures(test, CPUS);
	KUNIT_ASSERT_EQ(test, tegra241_cmdqv_start(&f->cmdqv), 0);
	for (lidx = 0; lidx < CPUS; lidx++) {
		u32 alloc = TEGRA241_CMDQ_ALLOC(lidx);
		unsigned int n = find_value(&f->regs, alloc, lidx << 1 | 1);

		KUNIT_ASSERT_NE(test, n, NONE);
		KUNIT_EXPECT_GT(test, n, last);
		last = n;
	}
}

static void queue_is_cleared_and_based_before_it_is_enabled(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int lidx;

	init_structures(test, CPUS);
	/* What an earlier kernel left, an error among it */
	for (lidx = 0; lidx < CPUS; lidx++) {
		*word(&f->regs, vcmdq_offset(lidx, VCMDQ_PROD)) = 5;
		*word(&f->regs, vcmdq_offset(lidx, VCMDQ_CONS)) = 0x01000003;
		*word(&f->regs, vcmdq_offset(lidx, VCMDQ_GERROR)) = 1;
	}
	KUNIT_ASSERT_EQ(test, tegra241_cmdqv_start(&f->cmdqv), 0);

	for (lidx = 0; lidx < CPUS; lidx++) {
		struct regs *regs = &f->regs;
		u64 base = f->cmdqv.vintf0.lvcmdqs[lidx].cmdq.q.q_base;
		unsigned int map, enable;

		map = find_write(regs, 0, TEGRA241_CMDQ_ALLOC(lidx));
		enable = when(regs, lidx, VCMDQ_CONFIG, 1);
		KUNIT_ASSERT_NE(test, enable, NONE);
		KUNIT_EXPECT_LT(test, map, find_write(regs, 0, vcmdq_offset(lidx, VCMDQ_PROD)));
		KUNIT_EXPECT_LT(test, when(regs, lidx, VCMDQ_PROD, 0), enable);
		KUNIT_EXPECT_LT(test, when(regs, lidx, VCMDQ_CONS, 0), enable);
		KUNIT_EXPECT_LT(test, when(regs, lidx, VCMDQ_GERRORN, 1), enable);
		KUNIT_EXPECT_LT(test, when1(regs, lidx, VCMDQ_CONS_INDX_BASE, 0), enable);
		KUNIT_EXPECT_LT(test, when1(regs, lidx, VCMDQ_BASE, base), enable);
	}
}

static void host_queue_takes_every_command(struct kunit *test)
{
	struct fixture *f = test->priv;

	start(test);
	KUNIT_EXPECT_TRUE(test, f->cmdqv.vintf0.hyp_own);
	KUNIT_EXPECT_NULL(test, f->cmdqv.vintf0.lvcmdqs[0].cmdq.supports_cmd);
}

static void guest_queue_has_the_filter(struct kunit *test)
{
	struct fixture *f = test->priv;

	f->regs.hyp_own = false;
	start(test);
	KUNIT_EXPECT_FALSE(test, f->cmdqv.vintf0.hyp_own);
	KUNIT_EXPECT_PTR_EQ(test, f->cmdqv.vintf0.lvcmdqs[0].cmdq.supports_cmd,
			    &tegra241_guest_supports_cmd);
}

struct start_failure {
	const char *name;
	u32 frozen_status;
	u32 frozen_mask;
	int error;
};

static const struct start_failure start_failures[] = {
	{ "block", TEGRA241_STATUS, ~0, -ETIMEDOUT },
	{ "VINTF", TEGRA241_VINTF(0) + VINTF_STATUS, ~0, -ETIMEDOUT },
	{ "all queues", TEGRA241_VINTF_PAGE0(0) + VCMDQ_STATUS,
	  TEGRA241_VINTF_PAGE0(0) | (VINTF_LVCMDQ(1) - 1), -EIO },
};

KUNIT_ARRAY_PARAM_DESC(start_failures, start_failures, name);

static void start_fails_and_stop_undoes_it(struct kunit *test)
{
	const struct start_failure *failure = test->param_value;
	struct fixture *f = test->priv;
	unsigned int lidx;

	init_structures(test, CPUS);
	f->regs.frozen_status = failure->frozen_status;
	f->regs.frozen_mask = failure->frozen_mask;
	KUNIT_EXPECT_EQ(test, tegra241_cmdqv_start(&f->cmdqv), failure->error);
	KUNIT_EXPECT_FALSE(test, f->cmdqv.vintf0.enabled);

	tegra241_cmdqv_stop(&f->cmdqv);
	KUNIT_EXPECT_EQ(test, *word(&f->regs, TEGRA241_CONFIG), GRACE_CONFIG);
	KUNIT_EXPECT_EQ(test, *word(&f->regs, TEGRA241_VINTF(0) + VINTF_CONFIG), 0);
	for (lidx = 0; lidx < CPUS; lidx++)
		KUNIT_EXPECT_FALSE(test, CMDQ_ALLOC_EN &
				   *word(&f->regs, TEGRA241_CMDQ_ALLOC(lidx)));
}

static void queue_that_does_not_start_is_retired_alone(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int lidx;

	f->regs.frozen_status = vcmdq_offset(2, VCMDQ_STATUS);
	start(test);
	for (lidx = 0; lidx < CPUS; lidx++)
		KUNIT_EXPECT_EQ(test, lidx == 2,
				f->cmdqv.vintf0.lvcmdqs[lidx].cmdq.retired);
}

/* Stop */

static void stop_drains_clears_and_unmaps_descending(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct regs *regs = &f->regs;
	unsigned int flush, last = 0;
	int lidx;

	start(test);
	*word(regs, vcmdq_offset(3, VCMDQ_GERROR)) = 1;
	tegra241_cmdqv_stop(&f->cmdqv);

	flush = find_write(regs, 0, FLUSH);
	KUNIT_ASSERT_NE(test, flush, NONE);
	for (lidx = CPUS - 1; lidx >= 0; lidx--) {
		unsigned int unmap = find_write(regs, 0, TEGRA241_CMDQ_ALLOC(lidx));

		KUNIT_ASSERT_NE(test, unmap, NONE);
		KUNIT_EXPECT_FALSE(test, regs->writes[unmap].val & CMDQ_ALLOC_EN);
		KUNIT_EXPECT_GT(test, unmap, last);
		last = unmap;

		KUNIT_EXPECT_LT(test, when(regs, lidx, VCMDQ_CONFIG, 0), flush);
		KUNIT_EXPECT_GT(test, when(regs, lidx, VCMDQ_PROD, 0), flush);
		KUNIT_EXPECT_LT(test, when(regs, lidx, VCMDQ_PROD, 0), unmap);
		KUNIT_EXPECT_LT(test, when(regs, lidx, VCMDQ_CONS, 0), unmap);
		KUNIT_EXPECT_LT(test, when1(regs, lidx, VCMDQ_BASE, 0), unmap);
		KUNIT_EXPECT_LT(test, when1(regs, lidx, VCMDQ_CONS_INDX_BASE, 0), unmap);
	}
	KUNIT_EXPECT_LT(test, when(regs, 3, VCMDQ_GERRORN, 1),
			find_write(regs, 0, TEGRA241_CMDQ_ALLOC(3)));
	KUNIT_EXPECT_GT(test, find_value(regs, TEGRA241_VINTF(0) + VINTF_CONFIG, 0), last);
	KUNIT_EXPECT_GT(test, find_value(regs, TEGRA241_CONFIG, GRACE_CONFIG), last);
	KUNIT_EXPECT_EQ(test, *word(regs, TEGRA241_STATUS), 0);
}

static void stopped_queues_refuse_commands(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int lidx;

	start(test);
	tegra241_cmdqv_stop(&f->cmdqv);
	KUNIT_EXPECT_FALSE(test, f->cmdqv.vintf0.enabled);
	for (lidx = 0; lidx < CPUS; lidx++)
		KUNIT_EXPECT_TRUE(test, f->cmdqv.vintf0.lvcmdqs[lidx].cmdq.retired);
}

/* Errors */

static void raise_error(struct kunit *test, struct tegra241_vcmdq *vcmdq,
			u32 code)
{
	struct fixture *f = test->priv;
	__le64 *ent = vcmdq->cmdq.q.base;

	ent[2 * 3] = cpu_to_le64(CMDQ_OP_TLBI_NH_VA);
	ent[2 * 3 + 1] = cpu_to_le64(0x1000);
	*word(&f->regs, vcmdq_offset(1, VCMDQ_CONS)) = code << 24 | 3;
	*word(&f->regs, vcmdq_offset(1, VCMDQ_GERROR)) ^= GERROR_VCMDQ_CMD;
}

static void queue_without_error_is_left_alone(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct tegra241_vcmdq *vcmdq = start(test);

	KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), 0);
	KUNIT_EXPECT_EQ(test, f->regs.num_writes, 0);
}

static void bad_command_is_skipped(struct kunit *test)
{
	static const u32 codes[] = { 1, 4, 5, 77, 127 };
	struct fixture *f = test->priv;
	struct tegra241_vcmdq *vcmdq = start(test);
	__le64 *ent = vcmdq->cmdq.q.base;
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(codes); n++) {
		raise_error(test, vcmdq, codes[n]);
		f->regs.num_writes = 0;
		KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), 0);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ent[2 * 3]), CMDQ_OP_CMD_SYNC);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ent[2 * 3 + 1]), 0);
		KUNIT_EXPECT_EQ(test, vcmdq->cmdq.skipped, n + 1);
		KUNIT_EXPECT_EQ(test, f->regs.num_writes, 1);
		KUNIT_EXPECT_EQ(test, f->regs.writes[0].offset,
				vcmdq_offset(1, VCMDQ_GERRORN));
		KUNIT_EXPECT_EQ(test, f->regs.writes[0].val, (n + 1) % 2);
	}
	KUNIT_EXPECT_FALSE(test, vcmdq->cmdq.retired);
}

static void abort_and_atc_timeout_are_tried_again(struct kunit *test)
{
	struct tegra241_vcmdq *vcmdq = start(test);
	__le64 *ent = vcmdq->cmdq.q.base;
	u32 code;

	for (code = 2; code <= 3; code++) {
		raise_error(test, vcmdq, code);
		KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), 0);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ent[2 * 3]), CMDQ_OP_TLBI_NH_VA);
		KUNIT_EXPECT_EQ(test, vcmdq->cmdq.skipped, 0);
	}
}

static void newer_error_is_not_acknowledged(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct tegra241_vcmdq *vcmdq = start(test);

	raise_error(test, vcmdq, 1);
	f->regs.new_gerror = GERROR_VCMDQ_CMD | GERROR_VCMDQ_INIT;
	KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), 0);
	KUNIT_EXPECT_EQ(test, *word(&f->regs, vcmdq_offset(1, VCMDQ_GERRORN)),
			GERROR_VCMDQ_CMD);
	KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), -EIO);
}

static void expect_retired(struct kunit *test, struct tegra241_vcmdq *vcmdq)
{
	struct fixture *f = test->priv;

	KUNIT_EXPECT_TRUE(test, vcmdq->cmdq.retired);
	KUNIT_EXPECT_EQ(test, *word(&f->regs, vcmdq_offset(1, VCMDQ_CONFIG)), 0);

	/* It stays so, without another word */
	f->regs.num_writes = 0;
	KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, true), -EIO);
	KUNIT_EXPECT_EQ(test, f->regs.num_writes, 0);
}

static void queue_without_progress_is_retired(struct kunit *test)
{
	struct tegra241_vcmdq *vcmdq = start(test);

	KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, true), -EIO);
	expect_retired(test, vcmdq);
}

static void dram_and_init_errors_retire_the_queue(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct tegra241_vcmdq *vcmdq = start(test);

	*word(&f->regs, vcmdq_offset(1, VCMDQ_GERROR)) = GERROR_VCMDQ_INIT;
	KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), -EIO);
	expect_retired(test, vcmdq);

	vcmdq->cmdq.retired = false;
	*word(&f->regs, vcmdq_offset(1, VCMDQ_GERROR)) = GERROR_VCMDQ_CONS_DRAM;
	KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), -EIO);
	expect_retired(test, vcmdq);
}

static void ninth_error_in_a_row_retires_the_queue(struct kunit *test)
{
	struct tegra241_vcmdq *vcmdq = start(test);
	unsigned int n;

	for (n = 0; n < 8; n++) {
		raise_error(test, vcmdq, 1);
		KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), 0);
	}
	raise_error(test, vcmdq, 1);
	KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), -EIO);
	expect_retired(test, vcmdq);
}

static void errors_long_ago_are_forgiven(struct kunit *test)
{
	struct tegra241_vcmdq *vcmdq = start(test);
	unsigned int n;

	for (n = 0; n < 50; n++) {
		vcmdq->errors_since -= 11 * HZ / 8;
		raise_error(test, vcmdq, 1);
		KUNIT_EXPECT_EQ(test, tegra241_vcmdq_recover(vcmdq, false), 0);
	}
}

static int tegra241_cmdqv_test_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	struct device *dev = kunit_device_register(test, "tegra241-cmdqv");

	KUNIT_ASSERT_NOT_NULL(test, f);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dev);
	dev->coherent_dma_mask = DMA_BIT_MASK(48);
	dev->dma_mask = &dev->coherent_dma_mask;

	f->regs.mem = kunit_kzalloc(test, REGS_BYTES, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->regs.mem);
	f->regs.hyp_own = true;
	f->regs.frozen_status = NONE;
	f->regs.frozen_mask = ~0;
	*word(&f->regs, TEGRA241_CONFIG) = GRACE_CONFIG;
	set_param(f, GRACE);

	f->smmu.dev = dev;
	f->smmu.cmdq.q.llq.max_n_shift = 19;
	f->cmdqv.smmu = &f->smmu;
	f->cmdqv.base = (void __iomem __force *)f->regs.mem;
	mutex_init(&f->cmdqv.pool_lock);
	test->priv = f;

	kunit_activate_static_stub(test, tegra241_readl, fake_readl);
	kunit_activate_static_stub(test, tegra241_writel, fake_writel);
	kunit_activate_static_stub(test, tegra241_writeq, fake_writeq);
	kunit_activate_static_stub(test, tegra241_cmdqv_flush, fake_flush);
	return 0;
}

static struct kunit_case tegra241_cmdqv_test_cases[] = {
	KUNIT_CASE(param_tells_the_shape),
	KUNIT_CASE(param_of_another_version_is_refused),
	KUNIT_CASE(kernel_takes_half_the_pool_or_all),
	KUNIT_CASE(user_sets_the_number_of_queues),
	KUNIT_CASE(cpus_share_queues_evenly),
	KUNIT_CASE(guest_queue_takes_three_opcodes),
	KUNIT_CASE(queues_come_from_the_pool_once),
	KUNIT_CASE(exhausted_pool_is_an_error),
	KUNIT_CASE(queues_are_small_aligned_and_apart),
	KUNIT_CASE(queue_has_room_for_a_batch_of_each_of_its_cpus),
	KUNIT_CASE(queue_is_no_larger_than_the_hardware_takes),
	KUNIT_CASE(no_memory_is_an_error),
	KUNIT_CASE(start_keeps_the_other_fields_of_config),
	KUNIT_CASE(vintf_is_configured_before_it_is_enabled),
	KUNIT_CASE(queues_are_mapped_ascending),
	KUNIT_CASE(queue_is_cleared_and_based_before_it_is_enabled),
	KUNIT_CASE(host_queue_takes_every_command),
	KUNIT_CASE(guest_queue_has_the_filter),
	KUNIT_CASE_PARAM(start_fails_and_stop_undoes_it,
			 start_failures_gen_params),
	KUNIT_CASE(queue_that_does_not_start_is_retired_alone),
	KUNIT_CASE(stop_drains_clears_and_unmaps_descending),
	KUNIT_CASE(stopped_queues_refuse_commands),
	KUNIT_CASE(queue_without_error_is_left_alone),
	KUNIT_CASE(bad_command_is_skipped),
	KUNIT_CASE(abort_and_atc_timeout_are_tried_again),
	KUNIT_CASE(newer_error_is_not_acknowledged),
	KUNIT_CASE(queue_without_progress_is_retired),
	KUNIT_CASE(dram_and_init_errors_retire_the_queue),
	KUNIT_CASE(ninth_error_in_a_row_retires_the_queue),
	KUNIT_CASE(errors_long_ago_are_forgiven),
	{}
};

static struct kunit_suite tegra241_cmdqv_test_suite = {
	.name = "tegra241-cmdqv",
	.init = tegra241_cmdqv_test_init,
	.test_cases = tegra241_cmdqv_test_cases,
};

kunit_test_suite(tegra241_cmdqv_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of the Tegra241 CMDQ-V driver");
MODULE_LICENSE("GPL");
