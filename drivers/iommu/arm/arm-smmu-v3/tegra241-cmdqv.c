// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command-queue virtualization block (CMDQ-V) beside the SMMUv3s of
 * NVIDIA Tegra241 (Grace)
 *
 * Copyright (C) 2026 The grace-lab developers
 *
 * The kernel has a VINTF to itself, VINTF 0, with a command queue for each CPU
 * as far as the pool allows. Whatever goes wrong with the block, the SMMU's own
 * queue remains: a queue that can't be repaired is retired, and where probing
 * fails the SMMU runs as a plain SMMUv3.
 *
 * Locking: submission takes no lock of this driver. A queue's repair takes its
 * lock. The pool has a mutex. Start and stop run when nobody else does anything
 * with the block but submit, and stop waits for what was submitted before.
 */
#define dev_fmt(fmt) "tegra241_cmdqv: " fmt

#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/acpi.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/iommu.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/rcupdate.h>

#include "tegra241-cmdqv.h"

/* What the hardware may take to follow an enable bit */
#define TEGRA241_ENABLE_TIMEOUT_US	USEC_PER_SEC

/* A queue with more errors than this in the interval is not worth repairing */
#define VCMDQ_MAX_ERRORS		8
#define VCMDQ_ERRORS_INTERVAL		(10 * HZ)

/* A full batch and its CMD_SYNC */
#define VCMDQ_ENTRIES_PER_CPU		(CMDQ_BATCH_ENTRIES + 1)

static bool disable_cmdqv;
module_param(disable_cmdqv, bool, 0444);
MODULE_PARM_DESC(disable_cmdqv,
		 "Leave the command-queue virtualization block of Tegra241 off (default: N)");

static int kernel_vcmdqs;
module_param(kernel_vcmdqs, int, 0444);
MODULE_PARM_DESC(kernel_vcmdqs,
		 "VCMDQs of Tegra241 for the kernel's own use (default: 0, one for each CPU up to half of them)");

static bool bypass_vcmdq;

#define vcmdq_err(vcmdq, fmt, ...)					\
do {									\
	struct tegra241_vcmdq *__q = (vcmdq);				\
									\
	dev_err(__q->vintf->cmdqv->smmu->dev,				\
		"VINTF%u: VCMDQ%u (LVCMDQ%u): " fmt,			\
		__q->vintf->idx, __q->idx, __q->lidx, ##__VA_ARGS__);	\
} while (0)

/*
 * All registers but the CONS and PROD that commands are submitted with go
 * through these three: KUnit puts a register file of its own in their place.
 */
u32 tegra241_readl(const void __iomem *reg)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_readl, reg);
	return readl(reg);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_readl);

void tegra241_writel(u32 val, void __iomem *reg)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_writel, val, reg);
	writel(val, reg);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_writel);

void tegra241_writeq(u64 val, void __iomem *reg)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_writeq, val, reg);
	writeq(val, reg);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_writeq);

/* Complete what the queues' last owner left, ATC_INV time-outs above all */
void tegra241_cmdqv_flush(struct tegra241_cmdqv *cmdqv)
{
	struct arm_smmu_device *smmu = cmdqv->smmu;

	KUNIT_STATIC_STUB_REDIRECT(tegra241_cmdqv_flush, cmdqv);
	arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, NULL, 0, true);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_flush);

/* Every STATUS register follows the CONFIG beside it, in bit 0 */
static_assert(VINTF_STATUS_ENABLE_OK == STATUS_ENABLED);
static_assert(VCMDQ_STATUS_ENABLED == STATUS_ENABLED);

/* Sleeps: a guest can make it last, and nobody waits with a spinlock held */
int tegra241_wait_status(const void __iomem *reg, bool on, ktime_t deadline)
{
	for (;;) {
		/* Looked at before: whoever sleeps too long reads once more */
		bool late = ktime_after(ktime_get(), deadline);

		if (!!(tegra241_readl(reg) & STATUS_ENABLED) == on)
			return 0;
		if (late)
			return -ETIMEDOUT;
		usleep_range(1, 10);
	}
}

ktime_t tegra241_deadline(void)
{
	return ktime_add_us(ktime_get(), TEGRA241_ENABLE_TIMEOUT_US);
}

/* VCMDQ */

static const char *tegra241_cerror_name(u32 code)
{
	switch (code) {
	case CMDQ_ERR_CERROR_ILL_IDX:
		return "illegal command";
	case CMDQ_ERR_CERROR_ABT_IDX:
		return "abort on command fetch";
	case CMDQ_ERR_CERROR_ATC_INV_IDX:
		return "ATC invalidation time-out";
	case VCMDQ_CERROR_ACCESS:
		return "illegal access (unknown stream ID, or queue memory not contiguous)";
	default:
		return "unknown error";
	}
}

static int tegra241_vcmdq_retire(struct tegra241_vcmdq *vcmdq, const char *why)
{
	lockdep_assert_held(&vcmdq->lock);

	vcmdq_err(vcmdq,
		  "%s (GERROR 0x%x, GERRORN 0x%x, PROD 0x%08x, CONS 0x%08x): retired, its commands go to the SMMU's own queue\n",
		  why, tegra241_readl(vcmdq->page0 + VCMDQ_GERROR),
		  tegra241_readl(vcmdq->page0 + VCMDQ_GERRORN),
		  tegra241_readl(vcmdq->page0 + VCMDQ_PROD),
		  tegra241_readl(vcmdq->page0 + VCMDQ_CONS));

	/*
	 * Nobody waits for it to stop: its memory stays until the block is
	 * stopped, and what it still executes does no harm.
	 */
	WRITE_ONCE(vcmdq->cmdq.retired, true);
	tegra241_writel(0, vcmdq->page0 + VCMDQ_CONFIG);
	return -EIO;
}

static bool tegra241_vcmdq_too_many_errors(struct tegra241_vcmdq *vcmdq)
{
	if (!vcmdq->errors ||
	    time_after(jiffies, vcmdq->errors_since + VCMDQ_ERRORS_INTERVAL)) {
		vcmdq->errors_since = jiffies;
		vcmdq->errors = 0;
	}

	return ++vcmdq->errors > VCMDQ_MAX_ERRORS;
}

/* Take the command in error, at CONS, out of the way */
static void tegra241_vcmdq_repair(struct tegra241_vcmdq *vcmdq)
{
	struct arm_smmu_cmdq *cmdq = &vcmdq->cmdq;
	u32 cons = tegra241_readl(vcmdq->page0 + VCMDQ_CONS);
	__le64 *ent = Q_ENT(&cmdq->q, cons);
	u32 code = FIELD_GET(CMDQ_CONS_ERR, cons);
	u64 cmd0 = le64_to_cpu(ent[0]);

	/* Acknowledged, it fetches again, or does the CMD_SYNC again */
	if (code == CMDQ_ERR_CERROR_ABT_IDX ||
	    code == CMDQ_ERR_CERROR_ATC_INV_IDX) {
		vcmdq_err(vcmdq, "%s at CONS 0x%08x, tried again\n",
			  tegra241_cerror_name(code), cons);
		return;
	}

	vcmdq_err(vcmdq,
		  "%s at CONS 0x%08x, skipped opcode 0x%02llx (0x%016llx 0x%016llx), repeated on the SMMU's own queue\n",
		  tegra241_cerror_name(code), cons,
		  FIELD_GET(CMDQ_0_OP, cmd0), cmd0, le64_to_cpu(ent[1]));

	ent[0] = cpu_to_le64(FIELD_PREP(CMDQ_0_OP, CMDQ_OP_CMD_SYNC) |
			     FIELD_PREP(CMDQ_SYNC_0_CS, CMDQ_SYNC_0_CS_NONE));
	ent[1] = 0;
	WRITE_ONCE(cmdq->skipped, cmdq->skipped + 1);
}

static int tegra241_vcmdq_recover_locked(struct tegra241_vcmdq *vcmdq,
					 bool timeout)
{
	u32 gerror, pending;

	if (vcmdq->cmdq.retired)
		return -EIO;

	if (timeout)
		return tegra241_vcmdq_retire(vcmdq, "makes no progress");

	/* Acknowledging just what is read here keeps a newer error pending */
	gerror = tegra241_readl(vcmdq->page0 + VCMDQ_GERROR);
	pending = gerror ^ tegra241_readl(vcmdq->page0 + VCMDQ_GERRORN);
	if (!pending)
		return 0;

	if (pending & ~GERROR_VCMDQ_CMD)
		return tegra241_vcmdq_retire(vcmdq, "can't be repaired");
	if (tegra241_vcmdq_too_many_errors(vcmdq))
		return tegra241_vcmdq_retire(vcmdq, "has too many errors");

	tegra241_vcmdq_repair(vcmdq);
	tegra241_writel(gerror, vcmdq->page0 + VCMDQ_GERRORN);
	return 0;
}

/**
 * tegra241_vcmdq_recover() - Repair a queue in error, or retire it
 * @vcmdq: The queue, mapped.
 * @timeout: It makes no progress: retire it whatever it reports.
 *
 * Context: Any context. Takes and releases @vcmdq's lock.
 * Return: 0 if the queue runs, maybe because somebody else repaired it; -EIO if
 * it is retired.
 */
VISIBLE_IF_KUNIT int tegra241_vcmdq_recover(struct tegra241_vcmdq *vcmdq,
					    bool timeout)
{
	unsigned long flags;
	int ret;

	raw_spin_lock_irqsave(&vcmdq->lock, flags);
	ret = tegra241_vcmdq_recover_locked(vcmdq, timeout);
	raw_spin_unlock_irqrestore(&vcmdq->lock, flags);

	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vcmdq_recover);

void tegra241_vcmdq_set_mapped(struct tegra241_vcmdq *vcmdq, bool mapped)
{
	struct tegra241_cmdqv *cmdqv = vcmdq->vintf->cmdqv;
	u32 alloc = FIELD_PREP(CMDQ_ALLOC_VINTF, vcmdq->vintf->idx) |
		    FIELD_PREP(CMDQ_ALLOC_LVCMDQ, vcmdq->lidx) |
		    FIELD_PREP(CMDQ_ALLOC_EN, mapped);

	tegra241_writel(alloc, cmdqv->base + TEGRA241_CMDQ_ALLOC(vcmdq->idx));
}

/* The queue is disabled: leave nothing of an earlier owner in it */
void tegra241_vcmdq_clear(struct tegra241_vcmdq *vcmdq)
{
	u32 gerror;

	tegra241_writel(0, vcmdq->page0 + VCMDQ_PROD);
	tegra241_writel(0, vcmdq->page0 + VCMDQ_CONS);
	tegra241_writeq(0, vcmdq->page1 + VCMDQ_BASE);
	tegra241_writeq(0, vcmdq->page1 + VCMDQ_CONS_INDX_BASE);

	gerror = tegra241_readl(vcmdq->page0 + VCMDQ_GERROR);
	if (gerror != tegra241_readl(vcmdq->page0 + VCMDQ_GERRORN))
		tegra241_writel(gerror, vcmdq->page0 + VCMDQ_GERRORN);
}

/* Does not wait: all queues of a VINTF come up together */
static void tegra241_vcmdq_enable(struct tegra241_vcmdq *vcmdq)
{
	struct arm_smmu_queue *q = &vcmdq->cmdq.q;

	tegra241_writeq(q->q_base, vcmdq->page1 + VCMDQ_BASE);
	tegra241_writel(VCMDQ_CONFIG_EN, vcmdq->page0 + VCMDQ_CONFIG);
}

static int tegra241_vcmdq_wait_enabled(struct tegra241_vcmdq *vcmdq,
				       ktime_t deadline)
{
	unsigned long flags;
	u32 gerror;
	int ret;

	ret = tegra241_wait_status(vcmdq->page0 + VCMDQ_STATUS, true, deadline);

	raw_spin_lock_irqsave(&vcmdq->lock, flags);
	gerror = tegra241_readl(vcmdq->page0 + VCMDQ_GERROR);
	if (ret)
		ret = tegra241_vcmdq_retire(vcmdq, "does not start");
	else if (gerror != tegra241_readl(vcmdq->page0 + VCMDQ_GERRORN))
		ret = tegra241_vcmdq_retire(vcmdq, "starts with an error");
	raw_spin_unlock_irqrestore(&vcmdq->lock, flags);

	return ret;
}

/* VINTF */

/* @config, with the VMID and HYP_OWN, has to be there before EN is */
int tegra241_vintf_enable(struct tegra241_vintf *vintf, u32 config)
{
	int ret;

	tegra241_writel(config, vintf->base + VINTF_CONFIG);
	tegra241_writel(config | VINTF_CONFIG_EN, vintf->base + VINTF_CONFIG);
	ret = tegra241_wait_status(vintf->base + VINTF_STATUS, true,
				   tegra241_deadline());
	if (ret)
		dev_err_ratelimited(vintf->cmdqv->smmu->dev,
				    "VINTF%u does not start\n", vintf->idx);
	return ret;
}

int tegra241_vintf_disable(struct tegra241_vintf *vintf)
{
	int ret;

	tegra241_writel(0, vintf->base + VINTF_CONFIG);
	ret = tegra241_wait_status(vintf->base + VINTF_STATUS, false,
				   tegra241_deadline());
	if (ret)
		dev_err_ratelimited(vintf->cmdqv->smmu->dev,
				    "VINTF%u does not stop: it is not used again before a reboot\n",
				    vintf->idx);
	return ret;
}

/* VINTF 0 */

/**
 * tegra241_guest_supports_cmd() - What a queue takes without HYP_OWN
 * @ent: The command; just its opcode matters.
 *
 * Return: true if the queue takes the command, false if it has to go to the
 * SMMU's own queue.
 */
VISIBLE_IF_KUNIT bool tegra241_guest_supports_cmd(struct arm_smmu_cmdq_ent *ent)
{
	switch (ent->opcode) {
	case CMDQ_OP_TLBI_NH_ASID:
	case CMDQ_OP_TLBI_NH_VA:
	case CMDQ_OP_ATC_INV:
		return true;
	default:
		return false;
	}
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_guest_supports_cmd);

/**
 * tegra241_vintf_cpu_to_lidx() - The queue of a CPU
 * @vintf: A VINTF with one queue at least.
 * @cpu: The CPU's number, below @cpus.
 * @cpus: Number of CPU numbers.
 *
 * CPUs that share a queue are neighbours.
 *
 * Return: A logical index, below the number of @vintf's queues.
 */
VISIBLE_IF_KUNIT unsigned int
tegra241_vintf_cpu_to_lidx(const struct tegra241_vintf *vintf,
			   unsigned int cpu, unsigned int cpus)
{
	return cpu * vintf->num_lvcmdqs / cpus;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_cpu_to_lidx);

static struct arm_smmu_cmdq *
tegra241_cmdqv_get_cmdq(struct arm_smmu_device *smmu,
			struct arm_smmu_cmdq_ent *ent)
{
	struct tegra241_cmdqv *cmdqv = smmu->impl_priv;
	struct tegra241_vintf *vintf = &cmdqv->vintf0;
	struct arm_smmu_cmdq *cmdq;
	unsigned int lidx;

	/* Pairs with the release in tegra241_vintf0_start() */
	if (READ_ONCE(bypass_vcmdq) || !smp_load_acquire(&vintf->enabled))
		return NULL;

	/* A task that moves to another CPU now does no harm but to locality */
	lidx = tegra241_vintf_cpu_to_lidx(vintf, raw_smp_processor_id(),
					  nr_cpu_ids);
	cmdq = &vintf->lvcmdqs[lidx].cmdq;
	if (READ_ONCE(cmdq->retired) || !arm_smmu_cmdq_supports_cmd(cmdq, ent))
		return NULL;

	return cmdq;
}

static int tegra241_cmdqv_fault(struct arm_smmu_device *smmu,
				struct arm_smmu_cmdq *cmdq, int timeout)
{
	return tegra241_vcmdq_recover(container_of(cmdq, struct tegra241_vcmdq,
						   cmdq), timeout);
}

static bool tegra241_vintf0_handle_errors(struct tegra241_cmdqv *cmdqv)
{
	struct tegra241_vintf *vintf = &cmdqv->vintf0;
	unsigned int lidx;

	/* Pairs with the release in tegra241_vintf0_start() */
	if (!smp_load_acquire(&vintf->enabled) ||
	    !(tegra241_readl(cmdqv->base + TEGRA241_VINTF_ERR_MAP(0)) &
	      BIT(vintf->idx)))
		return false;

	for (lidx = 0; lidx < vintf->num_lvcmdqs; lidx += LVCMDQ_ERR_MAP_BITS) {
		unsigned int m = lidx / LVCMDQ_ERR_MAP_BITS, bit;
		unsigned long map =
			tegra241_readl(vintf->base + VINTF_LVCMDQ_ERR_MAP(m));

		for_each_set_bit(bit, &map,
				 min(vintf->num_lvcmdqs - lidx,
				     LVCMDQ_ERR_MAP_BITS))
			tegra241_vcmdq_recover(&vintf->lvcmdqs[lidx + bit],
					       false);
	}

	return true;
}

static irqreturn_t tegra241_cmdqv_irq_thread(int irq, void *data)
{
	struct tegra241_cmdqv *cmdqv = data;
	bool seen = tegra241_vintf0_handle_errors(cmdqv);

	seen |= tegra241_guests_handle_errors(cmdqv);
	if (!seen)
		tegra241_guests_note_unseen(cmdqv);

	/* Unhandled, a guest could have the line disabled for all others */
	return IRQ_HANDLED;
}

/* Map the queues, in ascending order, and have those used that come up */
static int tegra241_vintf0_start_lvcmdqs(struct tegra241_vintf *vintf)
{
	unsigned int lidx, running = 0;
	ktime_t deadline;

	for (lidx = 0; lidx < vintf->num_lvcmdqs; lidx++) {
		struct tegra241_vcmdq *vcmdq = &vintf->lvcmdqs[lidx];

		if (!vintf->hyp_own)
			vcmdq->cmdq.supports_cmd = tegra241_guest_supports_cmd;

		tegra241_vcmdq_set_mapped(vcmdq, true);
		vintf->num_mapped = lidx + 1;
		tegra241_vcmdq_clear(vcmdq);
		tegra241_vcmdq_enable(vcmdq);
	}

	deadline = tegra241_deadline();
	for (lidx = 0; lidx < vintf->num_lvcmdqs; lidx++)
		if (!tegra241_vcmdq_wait_enabled(&vintf->lvcmdqs[lidx],
						 deadline))
			running++;

	return running ? 0 : -EIO;
}

static int tegra241_vintf0_start(struct tegra241_vintf *vintf)
{
	u32 config;
	int ret;

	ret = tegra241_vintf_enable(vintf, VINTF_CONFIG_HYP_OWN);
	if (ret)
		return ret;

	/* A hypervisor keeps it at zero: then the queues are a guest's */
	config = tegra241_readl(vintf->base + VINTF_CONFIG);
	vintf->hyp_own = FIELD_GET(VINTF_CONFIG_HYP_OWN, config);

	ret = tegra241_vintf0_start_lvcmdqs(vintf);
	if (ret) {
		dev_err(vintf->cmdqv->smmu->dev,
			"VINTF%u: none of %u VCMDQs starts\n",
			vintf->idx, vintf->num_lvcmdqs);
		return ret;
	}

	/* Pairs with the acquire of who submits and who repairs */
	smp_store_release(&vintf->enabled, true);
	return 0;
}

/* Have every queue refuse commands, and wait for those it has taken */
static void tegra241_vintf0_quiesce(struct tegra241_vintf *vintf)
{
	unsigned int lidx;

	WRITE_ONCE(vintf->enabled, false);
	for (lidx = 0; lidx < vintf->num_lvcmdqs; lidx++)
		WRITE_ONCE(vintf->lvcmdqs[lidx].cmdq.retired, true);

	/* Submission has interrupts off from the look at retired to its end */
	synchronize_rcu();
}

static void tegra241_vintf0_stop(struct tegra241_vintf *vintf)
{
	ktime_t deadline;
	int lidx;

	tegra241_vintf0_quiesce(vintf);

	for (lidx = 0; lidx < vintf->num_mapped; lidx++)
		tegra241_writel(0, vintf->lvcmdqs[lidx].page0 + VCMDQ_CONFIG);

	deadline = tegra241_deadline();
	for (lidx = 0; lidx < vintf->num_mapped; lidx++)
		if (tegra241_wait_status(vintf->lvcmdqs[lidx].page0 +
					 VCMDQ_STATUS, false, deadline))
			vcmdq_err(&vintf->lvcmdqs[lidx], "does not stop\n");

	if (vintf->num_mapped)
		tegra241_cmdqv_flush(vintf->cmdqv);

	while (vintf->num_mapped) {
		struct tegra241_vcmdq *vcmdq =
			&vintf->lvcmdqs[--vintf->num_mapped];

		tegra241_vcmdq_clear(vcmdq);
		tegra241_vcmdq_set_mapped(vcmdq, false);
	}

	tegra241_vintf_disable(vintf);
}

/* One piece of memory for all queues: a queue alone would waste most of a page */
static int tegra241_vintf0_alloc_queues(struct tegra241_vintf *vintf,
					unsigned int cpus)
{
	struct arm_smmu_device *smmu = vintf->cmdqv->smmu;
	unsigned int shift, lidx;
	size_t bytes;

	shift = order_base_2(VCMDQ_ENTRIES_PER_CPU *
			     DIV_ROUND_UP(cpus, vintf->num_lvcmdqs));
	shift = min(shift, smmu->cmdq.q.llq.max_n_shift);
	bytes = (size_t)1 << (shift + CMDQ_ENT_SZ_SHIFT);

	vintf->queue_mem = dmam_alloc_coherent(smmu->dev,
					       bytes * vintf->num_lvcmdqs,
					       &vintf->queue_dma, GFP_KERNEL);
	if (!vintf->queue_mem)
		return -ENOMEM;
	vintf->queue_bytes = bytes * vintf->num_lvcmdqs;

	/* Pages are aligned to their number, and it to the size of a queue */
	if (!IS_ALIGNED(vintf->queue_dma, bytes) ||
	    (vintf->queue_dma + vintf->queue_bytes - 1) >> 48)
		return -ERANGE;

	for (lidx = 0; lidx < vintf->num_lvcmdqs; lidx++) {
		struct arm_smmu_queue *q = &vintf->lvcmdqs[lidx].cmdq.q;

		q->llq.max_n_shift = shift;
		q->ent_dwords = CMDQ_ENT_DWORDS;
		q->base = vintf->queue_mem + lidx * bytes;
		q->base_dma = vintf->queue_dma + lidx * bytes;
		q->q_base = (q->base_dma & VCMDQ_BASE_ADDR) |
			    FIELD_PREP(VCMDQ_BASE_LOG2SIZE, shift);
	}

	return 0;
}

static int tegra241_cmdqv_get(struct tegra241_cmdqv *cmdqv, unsigned long *map,
			      unsigned int num)
{
	unsigned int idx;

	guard(mutex)(&cmdqv->pool_lock);

	idx = find_first_zero_bit(map, num);
	if (idx == num)
		return -ENOSPC;

	__set_bit(idx, map);
	return idx;
}

static void tegra241_cmdqv_put(struct tegra241_cmdqv *cmdqv, unsigned long *map,
			       unsigned int idx)
{
	guard(mutex)(&cmdqv->pool_lock);
	__clear_bit(idx, map);
}

/* Hand out a VCMDQ of the pool. Return: its global index, or -ENOSPC */
int tegra241_cmdqv_get_vcmdq(struct tegra241_cmdqv *cmdqv)
{
	return tegra241_cmdqv_get(cmdqv, cmdqv->pool, cmdqv->num_vcmdqs);
}

void tegra241_cmdqv_put_vcmdq(struct tegra241_cmdqv *cmdqv, unsigned int idx)
{
	tegra241_cmdqv_put(cmdqv, cmdqv->pool, idx);
}

/* Hand out a VINTF. Return: its index, or -ENOSPC */
int tegra241_cmdqv_get_vintf(struct tegra241_cmdqv *cmdqv)
{
	return tegra241_cmdqv_get(cmdqv, cmdqv->vintfs, cmdqv->num_vintfs);
}

void tegra241_cmdqv_put_vintf(struct tegra241_cmdqv *cmdqv, unsigned int idx)
{
	tegra241_cmdqv_put(cmdqv, cmdqv->vintfs, idx);
}

/* How many VCMDQs the next VM can have: a power of two, as guests are told */
unsigned int tegra241_cmdqv_guest_vcmdqs(struct tegra241_cmdqv *cmdqv)
{
	unsigned int taken;

	guard(mutex)(&cmdqv->pool_lock);
	taken = bitmap_weight(cmdqv->pool, cmdqv->num_vcmdqs);
	return rounddown_pow_of_two(max(cmdqv->num_vcmdqs - taken, 1));
}

void tegra241_cmdqv_set_masked(struct tegra241_cmdqv *cmdqv, unsigned int vintf,
			       bool masked)
{
	void __iomem *reg = cmdqv->base + TEGRA241_VINTF_INT_MASK(vintf / 32);
	u32 map;

	guard(mutex)(&cmdqv->pool_lock);
	map = tegra241_readl(reg);
	if (masked)
		map |= BIT(vintf % 32);
	else
		map &= ~BIT(vintf % 32);
	tegra241_writel(map, reg);
}

static int tegra241_vintf0_init_lvcmdq(struct tegra241_vintf *vintf,
				       unsigned int lidx)
{
	struct tegra241_vcmdq *vcmdq = &vintf->lvcmdqs[lidx];
	struct tegra241_cmdqv *cmdqv = vintf->cmdqv;
	int idx = tegra241_cmdqv_get_vcmdq(cmdqv);

	if (idx < 0)
		return idx;

	vcmdq->vintf = vintf;
	vcmdq->idx = idx;
	vcmdq->lidx = lidx;
	raw_spin_lock_init(&vcmdq->lock);
	vcmdq->page0 = cmdqv->base + TEGRA241_VINTF_PAGE0(vintf->idx) +
		       VINTF_LVCMDQ(lidx);
	vcmdq->page1 = cmdqv->base + TEGRA241_VINTF_PAGE1(vintf->idx) +
		       VINTF_LVCMDQ(lidx);
	vcmdq->cmdq.q.prod_reg = vcmdq->page0 + VCMDQ_PROD;
	vcmdq->cmdq.q.cons_reg = vcmdq->page0 + VCMDQ_CONS;

	return arm_smmu_cmdq_init(cmdqv->smmu, &vcmdq->cmdq);
}

/* The block */

/**
 * tegra241_cmdqv_kernel_vcmdqs() - How many queues the kernel takes for itself
 * @cmdqv: The block, with its shape known.
 * @wanted: What the user asks for, 0 for the default. A value out of range is
 *	reported, and the default used.
 * @cpus: Number of CPU numbers; more queues than these are of no use.
 *
 * Return: A number from 1 to that of the block's queues.
 */
VISIBLE_IF_KUNIT unsigned int
tegra241_cmdqv_kernel_vcmdqs(struct tegra241_cmdqv *cmdqv, int wanted,
			     unsigned int cpus)
{
	unsigned int limit = cmdqv->num_vcmdqs;

	if (wanted > 0 && wanted <= limit)
		return min_t(unsigned int, wanted, cpus);

	/* Half of them for guests, where there are VINTFs for guests */
	if (cmdqv->num_vintfs > 1 && limit > 1)
		limit /= 2;
	limit = min(limit, cpus);

	if (wanted)
		dev_warn(cmdqv->smmu->dev,
			 "arm_smmu_v3.kernel_vcmdqs=%d is not in 1..%u, using %u\n",
			 wanted, cmdqv->num_vcmdqs, limit);

	return limit;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_kernel_vcmdqs);

/**
 * tegra241_vintf0_init_structures() - Allocate the kernel's own queues
 * @cmdqv: The block, disabled.
 * @cpus: Number of CPU numbers.
 *
 * Context: Process context. The DMA mask of the SMMU and the size of its own
 * queue are set. May sleep.
 * Return: 0; -ENOMEM; -ERANGE if the memory is out of the block's reach.
 */
VISIBLE_IF_KUNIT int
tegra241_vintf0_init_structures(struct tegra241_cmdqv *cmdqv, unsigned int cpus)
{
	struct tegra241_vintf *vintf = &cmdqv->vintf0;
	unsigned int lidx;
	int ret;

	vintf->cmdqv = cmdqv;
	vintf->idx = 0;
	vintf->base = cmdqv->base + TEGRA241_VINTF(vintf->idx);
	vintf->num_lvcmdqs =
		tegra241_cmdqv_kernel_vcmdqs(cmdqv, kernel_vcmdqs, cpus);
	vintf->lvcmdqs = devm_kcalloc(cmdqv->smmu->dev, vintf->num_lvcmdqs,
				      sizeof(*vintf->lvcmdqs), GFP_KERNEL);
	if (!vintf->lvcmdqs)
		return -ENOMEM;

	ret = tegra241_vintf0_alloc_queues(vintf, cpus);
	if (ret)
		return ret;

	for (lidx = 0; lidx < vintf->num_lvcmdqs; lidx++) {
		ret = tegra241_vintf0_init_lvcmdq(vintf, lidx);
		if (ret)
			return ret;
	}

	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf0_init_structures);

static int tegra241_cmdqv_set_enabled(struct tegra241_cmdqv *cmdqv, bool on)
{
	u32 config = tegra241_readl(cmdqv->base + TEGRA241_CONFIG);
	int ret;

	u32p_replace_bits(&config, on, CONFIG_EN);
	tegra241_writel(config, cmdqv->base + TEGRA241_CONFIG);
	ret = tegra241_wait_status(cmdqv->base + TEGRA241_STATUS, on,
				   tegra241_deadline());
	if (ret)
		dev_err(cmdqv->smmu->dev, "the block does not %s\n",
			on ? "start" : "stop");

	return ret;
}

/**
 * tegra241_cmdqv_stop() - Take the block down
 * @cmdqv: The block, in any state that tegra241_cmdqv_start() leaves.
 *
 * Commands go to the SMMU's own queue from here on. What does not stop is
 * reported, and the rest stopped all the same.
 *
 * Context: Process context. The SMMU's own queue works. May sleep.
 */
VISIBLE_IF_KUNIT void tegra241_cmdqv_stop(struct tegra241_cmdqv *cmdqv)
{
	tegra241_vintf0_stop(&cmdqv->vintf0);
	tegra241_cmdqv_set_enabled(cmdqv, false);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_stop);

/**
 * tegra241_cmdqv_start() - Bring the block up and VINTF 0 with it
 * @cmdqv: The block, disabled, with its structures initialised.
 *
 * Context: Process context. The SMMU's own queue works. May sleep.
 * Return: 0, maybe with some queues retired; -ETIMEDOUT or -EIO if there is no
 * queue to be had. The caller then calls tegra241_cmdqv_stop().
 */
VISIBLE_IF_KUNIT int tegra241_cmdqv_start(struct tegra241_cmdqv *cmdqv)
{
	int ret;

	ret = tegra241_cmdqv_set_enabled(cmdqv, true);
	if (ret)
		return ret;

	tegra241_writel(0, cmdqv->base + TEGRA241_VINTF_INT_MASK(0));
	tegra241_writel(0, cmdqv->base + TEGRA241_VINTF_INT_MASK(1));

	return tegra241_vintf0_start(&cmdqv->vintf0);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_start);

/**
 * tegra241_cmdqv_read_param() - Learn the shape of the block
 * @cmdqv: The block, with its registers mapped.
 *
 * Return: 0; -ENODEV if PARAM tells of a block that this driver doesn't know.
 */
VISIBLE_IF_KUNIT int tegra241_cmdqv_read_param(struct tegra241_cmdqv *cmdqv)
{
	u32 param = tegra241_readl(cmdqv->base + TEGRA241_PARAM);

	cmdqv->num_vcmdqs = 1 << FIELD_GET(PARAM_LOG2_VCMDQS, param);
	cmdqv->num_vintfs = 1 << FIELD_GET(PARAM_LOG2_VINTFS, param);
	cmdqv->num_sid_slots = 1 << FIELD_GET(PARAM_LOG2_SID_SLOTS, param);

	if (FIELD_GET(PARAM_VERSION, param) != TEGRA241_VERSION ||
	    cmdqv->num_vcmdqs > TEGRA241_MAX_VCMDQS ||
	    cmdqv->num_vintfs > TEGRA241_MAX_VINTFS ||
	    cmdqv->num_sid_slots > TEGRA241_MAX_SID_SLOTS) {
		dev_err(cmdqv->smmu->dev,
			"PARAM 0x%08x describes no known block\n", param);
		return -ENODEV;
	}

	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_cmdqv_read_param);

/* What was allocated stays with the device: the block may not have stopped */
static void tegra241_cmdqv_fall_back(struct arm_smmu_device *smmu, int ret)
{
	if (ret != -ECANCELED)
		dev_err(smmu->dev,
			"not used (%pe): all commands go to the SMMU's own queue\n",
			ERR_PTR(ret));
	smmu->impl_ops = NULL;
}

static int tegra241_cmdqv_init_structures(struct arm_smmu_device *smmu)
{
	struct tegra241_cmdqv *cmdqv = smmu->impl_priv;
	int ret;

	ret = tegra241_vintf0_init_structures(cmdqv, nr_cpu_ids);
	if (ret)
		tegra241_cmdqv_fall_back(smmu, ret);

	return 0;
}

static void tegra241_cmdqv_request_irq(struct tegra241_cmdqv *cmdqv)
{
	struct arm_smmu_device *smmu = cmdqv->smmu;
	int ret = cmdqv->irq;

	if (ret > 0)
		ret = devm_request_threaded_irq(smmu->dev, cmdqv->irq, NULL,
						tegra241_cmdqv_irq_thread,
						IRQF_ONESHOT, "tegra241-cmdqv",
						cmdqv);
	if (ret < 0)
		dev_warn(smmu->dev,
			 "no error interrupt (%pe): errors are noticed by those who wait for a queue\n",
			 ERR_PTR(ret));
}

static int tegra241_cmdqv_device_reset(struct arm_smmu_device *smmu)
{
	struct tegra241_cmdqv *cmdqv = smmu->impl_priv;
	struct tegra241_vintf *vintf = &cmdqv->vintf0;
	int ret;

	ret = tegra241_cmdqv_start(cmdqv);
	if (ret) {
		tegra241_cmdqv_stop(cmdqv);
		tegra241_cmdqv_fall_back(smmu, ret);
		return 0;
	}

	tegra241_cmdqv_request_irq(cmdqv);
	dev_info(smmu->dev,
		 "VINTF%u: %u of %u VCMDQs for %u CPUs, %s commands, %u entries each, %zu KiB in all\n",
		 vintf->idx, vintf->num_lvcmdqs, cmdqv->num_vcmdqs, nr_cpu_ids,
		 vintf->hyp_own ? "all" : "guest",
		 1 << vintf->lvcmdqs[0].cmdq.q.llq.max_n_shift,
		 vintf->queue_bytes / SZ_1K);
	return 0;
}

static void tegra241_cmdqv_device_disable(struct arm_smmu_device *smmu)
{
	tegra241_cmdqv_stop(smmu->impl_priv);
}

static const struct arm_smmu_impl_ops tegra241_cmdqv_impl_ops = {
	.init_structures = tegra241_cmdqv_init_structures,
	.device_reset = tegra241_cmdqv_device_reset,
	.device_disable = tegra241_cmdqv_device_disable,
	.get_secondary_cmdq = tegra241_cmdqv_get_cmdq,
	.secondary_cmdq_fault = tegra241_cmdqv_fault,
	.hw_info = tegra241_guest_hw_info,
	.get_viommu_size = tegra241_guest_size,
	.vsmmu_init = tegra241_guest_init,
};

/* Probing */

#ifdef CONFIG_IOMMU_DEBUGFS
static DEFINE_MUTEX(debugfs_lock);
static struct dentry *debugfs_dir;
static unsigned int debugfs_users;

static void tegra241_cmdqv_debugfs_put(void *unused)
{
	guard(mutex)(&debugfs_lock);

	if (!--debugfs_users)
		debugfs_remove(debugfs_dir);
}

/* One directory for all blocks: bypass_vcmdq holds for all of them */
static int tegra241_cmdqv_debugfs_get(struct device *dev)
{
	scoped_guard(mutex, &debugfs_lock) {
		if (!debugfs_users++) {
			debugfs_dir = debugfs_create_dir("tegra241_cmdqv",
							 iommu_debugfs_dir);
			debugfs_create_bool("bypass_vcmdq", 0644, debugfs_dir,
					    &bypass_vcmdq);
		}
	}

	return devm_add_action_or_reset(dev, tegra241_cmdqv_debugfs_put, NULL);
}
#else
static int tegra241_cmdqv_debugfs_get(struct device *dev)
{
	return 0;
}
#endif

/* Memory of any descriptor; the interrupt may be missing */
static int tegra241_cmdqv_get_resources(struct tegra241_cmdqv *cmdqv,
					struct acpi_device *adev,
					struct resource *mem)
{
	struct resource irq = {};
	LIST_HEAD(list);
	int ret;

	ret = acpi_dev_get_memory_resources(adev, &list);
	if (ret <= 0) {
		dev_err(cmdqv->smmu->dev, "%s has no memory resource\n",
			dev_name(&adev->dev));
		return ret ?: -ENODEV;
	}

	*mem = *list_first_entry(&list, struct resource_entry, node)->res;
	acpi_dev_free_resource_list(&list);

	ret = acpi_irq_get(acpi_device_handle(adev), 0, &irq);
	cmdqv->irq = ret ? ret : irq.start;
	return 0;
}

static int tegra241_cmdqv_map(struct tegra241_cmdqv *cmdqv,
			      struct acpi_device *adev)
{
	struct arm_smmu_device *smmu = cmdqv->smmu;
	struct resource mem;
	int ret;

	ret = tegra241_cmdqv_get_resources(cmdqv, adev, &mem);
	if (ret)
		return ret;

	mem = DEFINE_RES_MEM(mem.start, resource_size(&mem));
	if (resource_size(&mem) < TEGRA241_VINTF_PAGE0(0)) {
		dev_err(smmu->dev, "%pr is too small\n", &mem);
		return -EINVAL;
	}

	cmdqv->phys = mem.start;
	cmdqv->base = devm_ioremap_resource(smmu->dev, &mem);
	if (IS_ERR(cmdqv->base))
		return PTR_ERR(cmdqv->base);

	ret = tegra241_cmdqv_read_param(cmdqv);
	if (ret)
		return ret;

	if (resource_size(&mem) < TEGRA241_VINTF_PAGE0(cmdqv->num_vintfs)) {
		dev_err(smmu->dev, "%pr is too small for %u VINTFs\n", &mem,
			cmdqv->num_vintfs);
		return -EINVAL;
	}

	return 0;
}

static int tegra241_cmdqv_probe_acpi(struct arm_smmu_device *smmu)
{
	struct tegra241_cmdqv *cmdqv;
	int ret;

	cmdqv = devm_kzalloc(smmu->dev, sizeof(*cmdqv), GFP_KERNEL);
	if (!cmdqv)
		return -ENOMEM;

	cmdqv->smmu = smmu;
	mutex_init(&cmdqv->pool_lock);
	/* VINTF 0 is ours */
	__set_bit(0, cmdqv->vintfs);

	ret = tegra241_cmdqv_map(cmdqv, to_acpi_device(smmu->impl_dev));
	if (ret)
		return ret;

	/* An earlier kernel may have left it running, in memory that is ours */
	ret = tegra241_cmdqv_set_enabled(cmdqv, false);
	if (ret)
		return ret;

	if (disable_cmdqv) {
		dev_info(smmu->dev, "disabled by arm_smmu_v3.disable_cmdqv\n");
		return -ECANCELED;
	}

	ret = tegra241_cmdqv_debugfs_get(smmu->dev);
	if (ret)
		return ret;

	smmu->impl_priv = cmdqv;
	smmu->impl_ops = &tegra241_cmdqv_impl_ops;
	return 0;
}

static void tegra241_cmdqv_put_dev(void *dev)
{
	put_device(dev);
}

/**
 * tegra241_cmdqv_probe() - Take charge of the CMDQ-V block beside an SMMUv3
 * @smmu: The SMMU, with impl_dev set to the ACPI device of the block and a
 *	reference to it, which this function takes over.
 *
 * Whatever fails is reported, and leaves @smmu a plain SMMUv3 with the block
 * disabled as far as it can be reached.
 *
 * Context: Process context, before the SMMU itself is probed. May sleep.
 */
void tegra241_cmdqv_probe(struct arm_smmu_device *smmu)
{
	void *group;
	int ret;

	group = devres_open_group(smmu->dev, NULL, GFP_KERNEL);
	if (!group) {
		put_device(smmu->impl_dev);
		ret = -ENOMEM;
		goto err_fall_back;
	}

	ret = devm_add_action_or_reset(smmu->dev, tegra241_cmdqv_put_dev,
				       smmu->impl_dev);
	if (ret)
		goto err_release;

	ret = tegra241_cmdqv_probe_acpi(smmu);
	if (ret)
		goto err_release;

	devres_close_group(smmu->dev, group);
	return;

err_release:
	devres_release_group(smmu->dev, group);
err_fall_back:
	smmu->impl_dev = NULL;
	tegra241_cmdqv_fall_back(smmu, ret);
}
