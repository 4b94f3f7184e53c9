/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The command-queue virtualization block (CMDQ-V) beside the SMMUv3s of
 * NVIDIA Tegra241: registers, and what the parts of its driver share
 *
 * Copyright (C) 2026 The grace-lab developers
 *
 * The block holds a pool of command queues (VCMDQs). A queue works for the
 * virtual interface (VINTF) that it is mapped into, as one of its logical
 * queues (LVCMDQs). VINTF 0 belongs to the kernel that drives the block.
 */
#ifndef _TEGRA241_CMDQV_H
#define _TEGRA241_CMDQV_H

#include <linux/bitfield.h>
#include <linux/bitmap.h>
#include <linux/bits.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>

#include "arm-smmu-v3.h"

/* What the encodings of the registers allow; PARAM tells what is there */
#define TEGRA241_MAX_VINTFS		64
#define TEGRA241_MAX_VCMDQS		128
#define TEGRA241_MAX_SID_SLOTS		16

/* PARAM_VERSION */
#define TEGRA241_VERSION		1

/* CONFIG page */
#define TEGRA241_CONFIG			0x0000
#define  CONFIG_EN			BIT(0)
#define TEGRA241_PARAM			0x0004
#define  PARAM_VERSION			GENMASK(3, 0)
#define  PARAM_LOG2_VCMDQS		GENMASK(7, 4)
#define  PARAM_LOG2_VINTFS		GENMASK(11, 8)
#define  PARAM_LOG2_SID_SLOTS		GENMASK(15, 12)
#define TEGRA241_STATUS			0x0008
#define  STATUS_ENABLED			BIT(0)
#define TEGRA241_VINTF_ERR_MAP(m)	(0x0014 + 0x4 * (m))
#define TEGRA241_VINTF_INT_MASK(m)	(0x001c + 0x4 * (m))
#define TEGRA241_CMDQ_ALLOC(q)		(0x0200 + 0x4 * (q))
#define  CMDQ_ALLOC_EN			BIT(0)
#define  CMDQ_ALLOC_LVCMDQ		GENMASK(7, 1)
#define  CMDQ_ALLOC_VINTF		GENMASK(20, 15)

/* A VINTF's registers on the CONFIG page */
#define TEGRA241_VINTF(v)		(0x1000 + 0x100 * (v))
#define VINTF_CONFIG			0x00
#define  VINTF_CONFIG_EN		BIT(0)
#define  VINTF_CONFIG_VMID		GENMASK(16, 1)
#define  VINTF_CONFIG_HYP_OWN		BIT(17)
#define VINTF_STATUS			0x04
#define  VINTF_STATUS_ENABLE_OK		BIT(0)
#define VINTF_SID_MATCH(s)		(0x40 + 0x4 * (s))
#define  SID_MATCH_ENABLE		BIT(0)
#define  SID_MATCH_SID			GENMASK(20, 1)
#define VINTF_SID_REPLACE(s)		(0x80 + 0x4 * (s))
#define  SID_REPLACE_SID		GENMASK(19, 0)
#define VINTF_LVCMDQ_ERR_MAP(m)		(0xc0 + 0x4 * (m))
#define  LVCMDQ_ERR_MAP_BITS		32

/* The direct view of a VCMDQ, which needs no mapping */
#define TEGRA241_VCMDQ_PAGE0(q)		(0x10000 + 0x80 * (q))
#define TEGRA241_VCMDQ_PAGE1(q)		(0x20000 + 0x80 * (q))

/* The two pages of a VINTF, with a window for each of its LVCMDQs */
#define TEGRA241_VINTF_PAGE0(v)		(0x30000 + 0x20000 * (v))
#define TEGRA241_VINTF_PAGE1(v)		(TEGRA241_VINTF_PAGE0(v) + SZ_64K)
#define VINTF_LVCMDQ(l)			(0x80 * (l))

/* A VCMDQ's registers, on page 0 */
#define VCMDQ_CONS			0x00
#define VCMDQ_PROD			0x04
#define VCMDQ_CONFIG			0x08
#define  VCMDQ_CONFIG_EN		BIT(0)
#define VCMDQ_STATUS			0x0c
#define  VCMDQ_STATUS_ENABLED		BIT(0)
#define VCMDQ_GERROR			0x10
#define VCMDQ_GERRORN			0x14
#define  GERROR_VCMDQ_CMD		BIT(0)
#define  GERROR_VCMDQ_CONS_DRAM		BIT(1)
#define  GERROR_VCMDQ_INIT		BIT(2)
/* ... and on page 1, 64 bits each */
#define VCMDQ_BASE			0x00
#define  VCMDQ_BASE_LOG2SIZE		GENMASK_ULL(4, 0)
#define  VCMDQ_BASE_ADDR		GENMASK_ULL(47, 5)
#define VCMDQ_CONS_INDX_BASE		0x08

/* An error in CONS beside those of the SMMU's own queue */
#define VCMDQ_CERROR_ACCESS		4

struct tegra241_cmdqv;
struct tegra241_guest;
struct tegra241_vintf;

/**
 * struct tegra241_vcmdq - A command queue
 * @cmdq: The queue as the SMMU driver submits to it.
 * @vintf: The VINTF that it is mapped into.
 * @idx: Global index, that of the pool.
 * @lidx: Logical index in @vintf.
 * @page0: Its control and status registers: in @vintf's view if that is VINTF 0,
 *	in the direct view for a guest's queue.
 * @page1: Its base addresses, likewise.
 * @lock: Serialises the repair of errors. Waiters take it with interrupts off.
 * @errors: Errors since @errors_since.
 * @errors_since: In jiffies.
 */
struct tegra241_vcmdq {
	struct arm_smmu_cmdq cmdq;

	struct tegra241_vintf *vintf;
	u16 idx;
	u16 lidx;

	void __iomem *page0;
	void __iomem *page1;

	raw_spinlock_t lock;
	unsigned int errors;
	unsigned long errors_since;
};

/**
 * struct tegra241_vintf - A virtual interface
 * @cmdqv: The block.
 * @idx: Index in the block.
 * @base: Its registers on the CONFIG page.
 * @hyp_own: The queues take whatever the SMMU's own queue takes. Otherwise
 *	they take what a guest may send.
 * @enabled: Commands may be submitted. Written with release semantics once
 *	all that submission reads is there.
 * @num_lvcmdqs: Number of queues in @lvcmdqs.
 * @num_mapped: How many of them are mapped, the first ones.
 * @lvcmdqs: The queues by logical index.
 * @queue_mem: The memory of all queues, one after the other.
 * @queue_dma: Its address for the hardware.
 * @queue_bytes: Its size.
 */
struct tegra241_vintf {
	struct tegra241_cmdqv *cmdqv;
	u16 idx;
	void __iomem *base;

	bool hyp_own;
	bool enabled;
	u16 num_lvcmdqs;
	u16 num_mapped;
	struct tegra241_vcmdq *lvcmdqs;

	void *queue_mem;
	dma_addr_t queue_dma;
	size_t queue_bytes;
};

/**
 * struct tegra241_cmdqv - A CMDQ-V block
 * @smmu: The SMMU that it belongs to.
 * @base: Its registers.
 * @phys: Their physical address.
 * @irq: Its error interrupt, or a negative errno where it has none.
 * @num_vintfs: Number of VINTFs.
 * @num_vcmdqs: Number of VCMDQs in the pool.
 * @num_sid_slots: Number of stream-ID slots of a VINTF.
 * @pool_lock: Protects @pool, @vintfs, and changes of the interrupt masks.
 * @pool: A bit for each VCMDQ that is taken.
 * @vintfs: A bit for each VINTF that is taken.
 * @vintf0: The kernel's own VINTF.
 * @guests: The guests by VINTF, for the interrupt handler. Written with release
 *	semantics.
 * @unseen: Interrupts since @unseen_since with nobody in error. For the
 *	interrupt handler alone.
 * @unseen_since: In jiffies.
 */
struct tegra241_cmdqv {
	struct arm_smmu_device *smmu;
	void __iomem *base;
	phys_addr_t phys;
	int irq;

	u16 num_vintfs;
	u16 num_vcmdqs;
	u16 num_sid_slots;

	struct mutex pool_lock; /* protects pool, vintfs and the masks */
	DECLARE_BITMAP(pool, TEGRA241_MAX_VCMDQS);
	DECLARE_BITMAP(vintfs, TEGRA241_MAX_VINTFS);

	struct tegra241_vintf vintf0;
	struct tegra241_guest *guests[TEGRA241_MAX_VINTFS];
	unsigned int unseen;
	unsigned long unseen_since;
};

u32 tegra241_readl(const void __iomem *reg);
void tegra241_writel(u32 val, void __iomem *reg);
void tegra241_writeq(u64 val, void __iomem *reg);
ktime_t tegra241_deadline(void);
int tegra241_wait_status(const void __iomem *reg, bool on, ktime_t deadline);

void tegra241_vcmdq_clear(struct tegra241_vcmdq *vcmdq);
void tegra241_vcmdq_set_mapped(struct tegra241_vcmdq *vcmdq, bool mapped);

int tegra241_vintf_enable(struct tegra241_vintf *vintf, u32 config);
int tegra241_vintf_disable(struct tegra241_vintf *vintf);

void tegra241_cmdqv_flush(struct tegra241_cmdqv *cmdqv);
void tegra241_cmdqv_set_masked(struct tegra241_cmdqv *cmdqv, unsigned int vintf,
			       bool masked);
int tegra241_cmdqv_get_vcmdq(struct tegra241_cmdqv *cmdqv);
void tegra241_cmdqv_put_vcmdq(struct tegra241_cmdqv *cmdqv, unsigned int idx);
int tegra241_cmdqv_get_vintf(struct tegra241_cmdqv *cmdqv);
void tegra241_cmdqv_put_vintf(struct tegra241_cmdqv *cmdqv, unsigned int idx);
unsigned int tegra241_cmdqv_guest_vcmdqs(struct tegra241_cmdqv *cmdqv);

#ifdef CONFIG_ARM_SMMU_V3_IOMMUFD
bool tegra241_guests_handle_errors(struct tegra241_cmdqv *cmdqv);
void tegra241_guests_note_unseen(struct tegra241_cmdqv *cmdqv);
void *tegra241_guest_hw_info(struct arm_smmu_device *smmu, u32 *length,
			     u32 *type);
size_t tegra241_guest_size(struct arm_smmu_device *smmu, u32 type);
int tegra241_guest_init(struct arm_vsmmu *vsmmu,
			const struct iommu_user_data *user_data);
#else
static inline bool tegra241_guests_handle_errors(struct tegra241_cmdqv *cmdqv)
{
	return false;
}

static inline void tegra241_guests_note_unseen(struct tegra241_cmdqv *cmdqv)
{
}

#define tegra241_guest_hw_info NULL
#define tegra241_guest_size NULL
#define tegra241_guest_init NULL
#endif

#if IS_ENABLED(CONFIG_KUNIT)
int tegra241_cmdqv_read_param(struct tegra241_cmdqv *cmdqv);
unsigned int tegra241_cmdqv_kernel_vcmdqs(struct tegra241_cmdqv *cmdqv,
					  int wanted, unsigned int cpus);
unsigned int tegra241_vintf_cpu_to_lidx(const struct tegra241_vintf *vintf,
					unsigned int cpu, unsigned int cpus);
bool tegra241_guest_supports_cmd(struct arm_smmu_cmdq_ent *ent);
int tegra241_vcmdq_recover(struct tegra241_vcmdq *vcmdq, bool timeout);
int tegra241_vintf0_init_structures(struct tegra241_cmdqv *cmdqv,
				    unsigned int cpus);
int tegra241_cmdqv_start(struct tegra241_cmdqv *cmdqv);
void tegra241_cmdqv_stop(struct tegra241_cmdqv *cmdqv);
#endif

#endif /* _TEGRA241_CMDQV_H */
