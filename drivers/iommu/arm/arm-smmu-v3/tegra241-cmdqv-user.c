// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command-queue virtualization block (CMDQ-V) beside the SMMUv3s of
 * NVIDIA Tegra241: VINTFs and VCMDQs that guests own
 *
 * Copyright (C) 2026 The grace-lab developers
 *
 * A guest's VINTF is a vSMMU with queues of its own. The hardware puts the VM's
 * VMID and the physical stream IDs into what the guest writes to them, so the
 * guest rings their doorbells itself, on the VINTF's page 0, which the VMM maps
 * into it.
 *
 * Whatever a guest does on page 0, it may do at any time, also while one of its
 * queues comes or goes. So a queue is set up and taken down through the direct
 * view. While it is mapped into the VINTF, BASE holds a pinned address, or 0
 * once it is cleared to be unmapped. What the guest does to it up to then is
 * undone after that, when the guest can't reach it any more.
 *
 * What does not stop is given to nobody again, nor is the memory that it may
 * still read: only a reboot has the block forget it.
 *
 * Locking: tegra241_guest::lock protects the queues and slots of one VINTF;
 * tegra241_cmdqv::pool_lock, a leaf, what all share. The interrupt handler finds
 * a guest in tegra241_cmdqv::guests; who takes a guest out waits for it.
 */
#define dev_fmt(fmt) "tegra241_cmdqv: " fmt

#include <kunit/visibility.h>
#include <linux/interrupt.h>
#include <linux/iommufd_viommu.h>
#include <linux/log2.h>
#include <linux/mm.h>

#include "tegra241-cmdqv.h"

/* A VM gets as many for certain, further ones as long as the pool has them */
#define GUEST_VCMDQS_MIN		2
/* In place of one that did not stop */
#define GUEST_VCMDQ_LOST		U16_MAX

/* More reports than this in the interval, and the VINTF is silent for as long */
#define GUEST_MAX_REPORTS		64
#define GUEST_REPORTS_INTERVAL		(HZ / 10)

struct tegra241_guest_vcmdq {
	struct iommufd_hw_queue core;
	struct tegra241_vcmdq vcmdq;
	struct tegra241_guest_vcmdq *before;
	phys_addr_t base;
};

/**
 * struct tegra241_guest - A guest's VINTF
 * @vsmmu: The vSMMU that it is.
 * @vintf: What it has in common with VINTF 0.
 * @lock: Protects @queues, @reserved and @slots.
 * @queues: Queues by logical index.
 * @reserved: The global indexes of the first queues, or GUEST_VCMDQ_LOST.
 * @slots: Stream-ID slots that are taken.
 * @max_log2size: Log2 of the entries that a queue can have.
 * @mmap_offset: Where user space finds page 0.
 * @reports: Reports since @reports_since. For the interrupt handler alone.
 * @reports_since: In jiffies.
 * @unmask: Ends the silence.
 */
struct tegra241_guest {
	struct arm_vsmmu vsmmu;
	struct tegra241_vintf vintf;

	struct mutex lock; /* protects queues, reserved and slots */
	struct tegra241_guest_vcmdq *queues[TEGRA241_MAX_VCMDQS];
	u16 reserved[GUEST_VCMDQS_MIN];
	DECLARE_BITMAP(slots, TEGRA241_MAX_SID_SLOTS);

	unsigned int max_log2size;
	unsigned long mmap_offset;

	unsigned int reports;
	unsigned long reports_since;
	struct delayed_work unmask;
};

struct tegra241_guest_vdevice {
	struct iommufd_vdevice core;
	unsigned int slot;
};

#define guest_of(viommu) \
	container_of(viommu, struct tegra241_guest, vsmmu.core)

#define guest_err(guest, fmt, ...)					\
do {									\
	struct tegra241_guest *__g = (guest);				\
									\
	dev_err_ratelimited(__g->vsmmu.smmu->dev, "VINTF%u: " fmt,	\
			    __g->vintf.idx, ##__VA_ARGS__);		\
} while (0)

/* Queues */

static void tegra241_guest_put_vcmdq(struct tegra241_guest *guest,
				     unsigned int lidx, unsigned int idx)
{
	if (lidx >= GUEST_VCMDQS_MIN)
		tegra241_cmdqv_put_vcmdq(guest->vintf.cmdqv, idx);
}

static int tegra241_guest_get_vcmdq(struct tegra241_guest *guest,
				    unsigned int lidx)
{
	int idx;

	if (lidx < GUEST_VCMDQS_MIN && guest->reserved[lidx] != GUEST_VCMDQ_LOST)
		return guest->reserved[lidx];

	idx = tegra241_cmdqv_get_vcmdq(guest->vintf.cmdqv);
	if (idx < 0)
		guest_err(guest, "LVCMDQ%u: no VCMDQ is left; give the kernel fewer with arm_smmu_v3.kernel_vcmdqs\n",
			  lidx);
	else if (lidx < GUEST_VCMDQS_MIN)
		guest->reserved[lidx] = idx;
	return idx;
}

/* It may still run: nobody gets it, not even the VM that it was reserved for */
static void tegra241_guest_lose_vcmdq(struct tegra241_guest *guest,
				      unsigned int lidx)
{
	lockdep_assert_held(&guest->lock);

	if (lidx < GUEST_VCMDQS_MIN)
		guest->reserved[lidx] = GUEST_VCMDQ_LOST;
}

/* It may still be read: a reference that nobody drops outlasts the pin */
static void tegra241_guest_keep_memory(phys_addr_t base, u64 length)
{
	unsigned long pfn;

	for (pfn = PHYS_PFN(base); pfn <= PHYS_PFN(base + length - 1); pfn++)
		get_page(pfn_to_page(pfn));
}

/*
 * Stop it and leave nothing in it, through the direct view. As long as it runs
 * its registers must not change, so one that does not stop stays as it is.
 */
static int tegra241_guest_vcmdq_reset(struct tegra241_vcmdq *vcmdq)
{
	int ret;

	tegra241_writel(0, vcmdq->page0 + VCMDQ_CONFIG);
	ret = tegra241_wait_status(vcmdq->page0 + VCMDQ_STATUS, false,
				   tegra241_deadline());
	if (ret)
		return ret;

	/* Its last ATC_INV may time out under the next owner otherwise */
	tegra241_cmdqv_flush(vcmdq->vintf->cmdqv);
	tegra241_vcmdq_clear(vcmdq);
	return 0;
}

static int tegra241_guest_vcmdq_start(struct tegra241_guest *guest,
				      struct tegra241_vcmdq *vcmdq, u64 base,
				      unsigned int log2size)
{
	int ret;

	ret = tegra241_guest_vcmdq_reset(vcmdq);
	if (ret) {
		guest_err(guest, "VCMDQ%u (LVCMDQ%u) does not stop: it is not used again before a reboot\n",
			  vcmdq->idx, vcmdq->lidx);
		return ret;
	}
	tegra241_writeq(base | FIELD_PREP(VCMDQ_BASE_LOG2SIZE, log2size),
			vcmdq->page1 + VCMDQ_BASE);
	/* From now on the guest can enable it */
	tegra241_vcmdq_set_mapped(vcmdq, true);
	return 0;
}

static int tegra241_guest_vcmdq_stop(struct tegra241_guest *guest,
				     struct tegra241_vcmdq *vcmdq)
{
	int ret;

	/*
	 * The hardware wants it cleared before it is unmapped. A guest that
	 * enables it again can have this fail, or undo it: no news for the log.
	 */
	tegra241_guest_vcmdq_reset(vcmdq);
	tegra241_vcmdq_set_mapped(vcmdq, false);

	/* The guest can't interfere any more: this is the one that counts */
	ret = tegra241_guest_vcmdq_reset(vcmdq);
	if (ret)
		guest_err(guest, "VCMDQ%u (LVCMDQ%u) does not stop: neither it nor its memory is used again before a reboot\n",
			  vcmdq->idx, vcmdq->lidx);
	return ret;
}

static void tegra241_guest_hw_queue_destroy(struct iommufd_hw_queue *hw_queue)
{
	struct tegra241_guest *guest = guest_of(hw_queue->viommu);
	struct tegra241_guest_vcmdq *queue =
		container_of(hw_queue, struct tegra241_guest_vcmdq, core);

	guard(mutex)(&guest->lock);
	if (tegra241_guest_vcmdq_stop(guest, &queue->vcmdq)) {
		tegra241_guest_lose_vcmdq(guest, hw_queue->index);
		tegra241_guest_keep_memory(queue->base, hw_queue->length);
	} else {
		tegra241_guest_put_vcmdq(guest, hw_queue->index,
					 queue->vcmdq.idx);
	}
	guest->queues[hw_queue->index] = NULL;
	if (queue->before)
		iommufd_hw_queue_undepend(&queue->before->core);
}

static int tegra241_guest_check_queue(struct tegra241_guest *guest,
				      struct iommufd_hw_queue *hw_queue,
				      phys_addr_t base)
{
	u32 index = hw_queue->index;
	u64 length = hw_queue->length;

	lockdep_assert_held(&guest->lock);

	if (index >= guest->vintf.num_lvcmdqs)
		return -EINVAL;
	if (guest->queues[index])
		return -EEXIST;
	if (index && !guest->queues[index - 1])
		return -EIO;

	if (!is_power_of_2(length) || length < 2 << CMDQ_ENT_SZ_SHIFT ||
	    length > 1ULL << (guest->max_log2size + CMDQ_ENT_SZ_SHIFT) ||
	    !IS_ALIGNED(base, length) ||
	    (base & ~VCMDQ_BASE_ADDR)) {
		guest_err(guest, "LVCMDQ%u: %llu bytes at IOVA 0x%llx are no queue of 2 to %u entries, aligned to its size\n",
			  index, length, hw_queue->iova,
			  1 << guest->max_log2size);
		return -EINVAL;
	}
	return 0;
}

static void tegra241_guest_init_vcmdq(struct tegra241_guest *guest,
				      struct tegra241_vcmdq *vcmdq,
				      unsigned int idx, unsigned int lidx)
{
	struct tegra241_cmdqv *cmdqv = guest->vintf.cmdqv;

	vcmdq->vintf = &guest->vintf;
	vcmdq->idx = idx;
	vcmdq->lidx = lidx;
	vcmdq->page0 = cmdqv->base + TEGRA241_VCMDQ_PAGE0(idx);
	vcmdq->page1 = cmdqv->base + TEGRA241_VCMDQ_PAGE1(idx);
}

static int tegra241_guest_hw_queue_init(struct iommufd_hw_queue *hw_queue,
					phys_addr_t base)
{
	struct tegra241_guest *guest = guest_of(hw_queue->viommu);
	struct tegra241_guest_vcmdq *queue =
		container_of(hw_queue, struct tegra241_guest_vcmdq, core);
	unsigned int lidx = hw_queue->index;
	int idx, ret;

	guard(mutex)(&guest->lock);
	ret = tegra241_guest_check_queue(guest, hw_queue, base);
	if (ret)
		return ret;

	if (lidx) {
		queue->before = guest->queues[lidx - 1];
		if (iommufd_hw_queue_depend(hw_queue, &queue->before->core))
			return -EIO;
	}

	idx = tegra241_guest_get_vcmdq(guest, lidx);
	if (idx < 0) {
		ret = idx;
		goto err_undepend;
	}

	tegra241_guest_init_vcmdq(guest, &queue->vcmdq, idx, lidx);
	ret = tegra241_guest_vcmdq_start(guest, &queue->vcmdq, base,
					 ilog2(hw_queue->length) -
						 CMDQ_ENT_SZ_SHIFT);
	if (ret)
		goto err_lose_vcmdq;

	queue->base = base;
	guest->queues[lidx] = queue;
	hw_queue->destroy = tegra241_guest_hw_queue_destroy;
	return 0;

err_lose_vcmdq:
	/* It did not stop for another owner. It never had this one's memory */
	tegra241_guest_lose_vcmdq(guest, lidx);
err_undepend:
	if (lidx)
		iommufd_hw_queue_undepend(&queue->before->core);
	return ret;
}

static size_t tegra241_guest_get_hw_queue_size(struct iommufd_viommu *viommu,
					       u32 type)
{
	if (type != IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV)
		return 0;
	return iommufd_struct_size(struct tegra241_guest_vcmdq, core);
}

/* Stream IDs */

static void tegra241_guest_vdevice_destroy(struct iommufd_vdevice *vdev)
{
	struct tegra241_guest *guest = guest_of(vdev->viommu);
	unsigned int slot =
		container_of(vdev, struct tegra241_guest_vdevice, core)->slot;

	guard(mutex)(&guest->lock);
	tegra241_writel(0, guest->vintf.base + VINTF_SID_MATCH(slot));
	tegra241_writel(0, guest->vintf.base + VINTF_SID_REPLACE(slot));
	__clear_bit(slot, guest->slots);
}

static int tegra241_guest_vdevice_init(struct iommufd_vdevice *vdev)
{
	struct tegra241_guest *guest = guest_of(vdev->viommu);
	struct device *dev = iommufd_vdevice_to_device(vdev);
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	unsigned int slot;
	int ret;

	ret = arm_vsmmu_vdevice_init(vdev);
	if (ret)
		return ret;
	if (vdev->virt_id > FIELD_MAX(SID_MATCH_SID))
		return -EINVAL;
	/* Cut off it would be another device's */
	if (master->streams[0].id > FIELD_MAX(SID_REPLACE_SID))
		return -EOPNOTSUPP;

	guard(mutex)(&guest->lock);
	slot = find_first_zero_bit(guest->slots,
				   guest->vintf.cmdqv->num_sid_slots);
	if (slot == guest->vintf.cmdqv->num_sid_slots) {
		guest_err(guest, "no stream-ID slot is left for %s; a VM can have %u devices behind one vSMMU\n",
			  dev_name(dev), slot);
		return -ENOSPC;
	}

	/* What it is replaced by first: a match makes it live */
	tegra241_writel(FIELD_PREP(SID_REPLACE_SID, master->streams[0].id),
			guest->vintf.base + VINTF_SID_REPLACE(slot));
	tegra241_writel(FIELD_PREP(SID_MATCH_SID, vdev->virt_id) |
				SID_MATCH_ENABLE,
			guest->vintf.base + VINTF_SID_MATCH(slot));
	__set_bit(slot, guest->slots);
	container_of(vdev, struct tegra241_guest_vdevice, core)->slot = slot;
	vdev->destroy = tegra241_guest_vdevice_destroy;
	return 0;
}

/* Errors */

/* Tell the guest which of its queues are in error, acknowledged or not */
static void tegra241_guest_report(struct tegra241_guest *guest)
{
	struct iommu_vevent_tegra241_cmdqv event;
	unsigned int m;
	u32 map[4];

	for (m = 0; m < ARRAY_SIZE(map); m++)
		map[m] = tegra241_readl(guest->vintf.base +
					VINTF_LVCMDQ_ERR_MAP(m));
	event.lvcmdq_err_map[0] = cpu_to_le64((u64)map[1] << 32 | map[0]);
	event.lvcmdq_err_map[1] = cpu_to_le64((u64)map[3] << 32 | map[2]);

	/* Without a vEVENTQ nobody wants to know */
	iommufd_viommu_report_event(&guest->vsmmu.core,
				    IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, &event,
				    sizeof(event));
}

static bool tegra241_guest_is_in_error(struct tegra241_guest *guest)
{
	unsigned int idx = guest->vintf.idx;

	return tegra241_readl(guest->vintf.cmdqv->base +
			      TEGRA241_VINTF_ERR_MAP(idx / 32)) &
	       BIT(idx % 32);
}

/* Masked, it can still be in error when another VINTF interrupts */
static bool tegra241_guest_is_silent(struct tegra241_guest *guest)
{
	unsigned int idx = guest->vintf.idx;

	return tegra241_readl(guest->vintf.cmdqv->base +
			      TEGRA241_VINTF_INT_MASK(idx / 32)) &
	       BIT(idx % 32);
}

static void tegra241_guest_unmask(struct work_struct *work)
{
	struct tegra241_guest *guest =
		container_of(work, struct tegra241_guest, unmask.work);

	tegra241_cmdqv_set_masked(guest->vintf.cmdqv, guest->vintf.idx, false);
	/* Nobody says that an error of before raises an interrupt now */
	if (tegra241_guest_is_in_error(guest))
		tegra241_guest_report(guest);
}

static void tegra241_guest_silence(struct tegra241_guest *guest)
{
	tegra241_cmdqv_set_masked(guest->vintf.cmdqv, guest->vintf.idx, true);
	schedule_delayed_work(&guest->unmask, GUEST_REPORTS_INTERVAL);
}

/* Count one more, and say whether that is too many. The count starts anew */
static bool tegra241_too_many_reports(unsigned int *reports,
				      unsigned long *since)
{
	if (time_after(jiffies, *since + GUEST_REPORTS_INTERVAL)) {
		*since = jiffies;
		*reports = 0;
	}
	if (++*reports <= GUEST_MAX_REPORTS)
		return false;

	*reports = 0;
	return true;
}

/* A guest that makes errors without end shall not keep the host busy */
static void tegra241_guest_throttle(struct tegra241_guest *guest)
{
	if (tegra241_too_many_reports(&guest->reports, &guest->reports_since))
		tegra241_guest_silence(guest);
}

/**
 * tegra241_guests_handle_errors() - Report the errors of guests to them
 * @cmdqv: The block.
 *
 * Context: The threaded interrupt handler of the block.
 * Return: Whether any guest has an error that it is told of.
 */
bool tegra241_guests_handle_errors(struct tegra241_cmdqv *cmdqv)
{
	struct tegra241_guest *guest;
	unsigned int idx;
	bool any = false;

	for (idx = 1; idx < cmdqv->num_vintfs; idx++) {
		/* Pairs with the release in tegra241_guest_publish() */
		guest = smp_load_acquire(&cmdqv->guests[idx]);
		if (!guest || tegra241_guest_is_silent(guest) ||
		    !tegra241_guest_is_in_error(guest))
			continue;
		tegra241_guest_report(guest);
		tegra241_guest_throttle(guest);
		any = true;
	}
	return any;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_guests_handle_errors);

/**
 * tegra241_guests_note_unseen() - Note an interrupt that nobody was to blame for
 * @cmdqv: The block.
 *
 * A guest that acknowledges an error at once is gone from the maps when the
 * handler looks. It can do so without end, and nobody knows which one it is. So
 * too many of these silence all guests. What stands after that is reported.
 *
 * Context: The threaded interrupt handler of the block.
 */
void tegra241_guests_note_unseen(struct tegra241_cmdqv *cmdqv)
{
	struct tegra241_guest *guest;
	unsigned int idx;

	if (!tegra241_too_many_reports(&cmdqv->unseen, &cmdqv->unseen_since))
		return;

	for (idx = 1; idx < cmdqv->num_vintfs; idx++) {
		/* Pairs with the release in tegra241_guest_publish() */
		guest = smp_load_acquire(&cmdqv->guests[idx]);
		if (guest && !tegra241_guest_is_silent(guest))
			tegra241_guest_silence(guest);
	}
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_guests_note_unseen);

/* The VINTF */

static int tegra241_guest_start(struct tegra241_guest *guest)
{
	void __iomem *base = guest->vintf.base;
	unsigned int slot;

	for (slot = 0; slot < guest->vintf.cmdqv->num_sid_slots; slot++) {
		tegra241_writel(0, base + VINTF_SID_MATCH(slot));
		tegra241_writel(0, base + VINTF_SID_REPLACE(slot));
	}

	/* Not HYP_OWN: the queues take what a guest may send */
	return tegra241_vintf_enable(&guest->vintf,
				     FIELD_PREP(VINTF_CONFIG_VMID,
						guest->vsmmu.vmid));
}

static void tegra241_guest_publish(struct tegra241_guest *guest)
{
	struct tegra241_cmdqv *cmdqv = guest->vintf.cmdqv;

	/* Pairs with the acquire of the interrupt handler */
	smp_store_release(&cmdqv->guests[guest->vintf.idx], guest);
}

/* When this returns nobody reports to the guest any more */
static void tegra241_guest_unpublish(struct tegra241_guest *guest)
{
	struct tegra241_cmdqv *cmdqv = guest->vintf.cmdqv;

	WRITE_ONCE(cmdqv->guests[guest->vintf.idx], NULL);
	if (cmdqv->irq > 0)
		synchronize_irq(cmdqv->irq);
	cancel_delayed_work_sync(&guest->unmask);
	tegra241_cmdqv_set_masked(cmdqv, guest->vintf.idx, false);
}

static void tegra241_guest_put_reserved(struct tegra241_guest *guest,
					unsigned int num)
{
	while (num--)
		if (guest->reserved[num] != GUEST_VCMDQ_LOST)
			tegra241_cmdqv_put_vcmdq(guest->vintf.cmdqv,
						 guest->reserved[num]);
}

/* A VINTF, and queues enough for what a VMM needs */
static int tegra241_guest_get_indexes(struct tegra241_guest *guest)
{
	struct tegra241_cmdqv *cmdqv = guest->vintf.cmdqv;
	struct device *dev = cmdqv->smmu->dev;
	unsigned int n;
	int idx;

	idx = tegra241_cmdqv_get_vintf(cmdqv);
	if (idx < 0) {
		dev_err_ratelimited(dev, "no VINTF is left for another VM, all %u are in use\n",
				    cmdqv->num_vintfs);
		return idx;
	}
	guest->vintf.idx = idx;
	guest->vintf.base = cmdqv->base + TEGRA241_VINTF(idx);

	for (n = 0; n < GUEST_VCMDQS_MIN; n++) {
		idx = tegra241_cmdqv_get_vcmdq(cmdqv);
		if (idx < 0) {
			guest_err(guest, "%u VCMDQs are not left for another VM; give the kernel fewer with arm_smmu_v3.kernel_vcmdqs\n",
				  GUEST_VCMDQS_MIN);
			tegra241_guest_put_reserved(guest, n);
			tegra241_cmdqv_put_vintf(cmdqv, guest->vintf.idx);
			return idx;
		}
		guest->reserved[n] = idx;
	}
	return 0;
}

/* Its queues are stopped and unmapped */
static void tegra241_guest_stop(struct tegra241_guest *guest)
{
	int ret = tegra241_vintf_disable(&guest->vintf);

	tegra241_guest_put_reserved(guest, GUEST_VCMDQS_MIN);
	/* It may still run with this VM's VMID: nobody gets it */
	if (!ret)
		tegra241_cmdqv_put_vintf(guest->vintf.cmdqv, guest->vintf.idx);
}

static void tegra241_guest_destroy(struct iommufd_viommu *viommu)
{
	struct tegra241_guest *guest = guest_of(viommu);

	tegra241_guest_unpublish(guest);
	iommufd_viommu_free_mmap(viommu, guest->mmap_offset);
	tegra241_guest_stop(guest);
	mutex_destroy(&guest->lock);
}

static const struct iommufd_viommu_ops tegra241_guest_ops = {
	.destroy = tegra241_guest_destroy,
	.alloc_domain_nested = arm_vsmmu_alloc_domain_nested,
	.cache_invalidate = arm_vsmmu_cache_invalidate,
	.vdevice_size = iommufd_struct_size(struct tegra241_guest_vdevice, core),
	.vdevice_init = tegra241_guest_vdevice_init,
	.get_hw_queue_size = tegra241_guest_get_hw_queue_size,
	.hw_queue_init = tegra241_guest_hw_queue_init,
};

/* Tell user space where page 0 is, as the last thing that can fail */
static int tegra241_guest_offer_page0(struct tegra241_guest *guest,
				      const struct iommu_user_data *user_data)
{
	struct tegra241_cmdqv *cmdqv = guest->vintf.cmdqv;
	struct iommu_viommu_tegra241_cmdqv data = {
		.out_vintf_mmap_length = SZ_64K,
	};
	struct iommufd_viommu *viommu = &guest->vsmmu.core;
	int ret;

	ret = iommufd_viommu_alloc_mmap(viommu,
					cmdqv->phys +
						TEGRA241_VINTF_PAGE0(guest->vintf.idx),
					SZ_64K, &guest->mmap_offset);
	if (ret)
		return ret;

	data.out_vintf_mmap_offset = guest->mmap_offset;
	ret = iommu_copy_struct_to_user(user_data, &data,
					IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
					sizeof(data), sizeof(data));
	if (ret)
		iommufd_viommu_free_mmap(viommu, guest->mmap_offset);
	return ret;
}

/**
 * tegra241_guest_init() - Give a VM a VINTF
 * @vsmmu: The vSMMU, in front of a struct tegra241_guest.
 * @user_data: Where user space wants struct iommu_viommu_tegra241_cmdqv.
 *
 * Context: Process context. May sleep.
 * Return: 0; -EINVAL: no place for the data, or of another length; -ENOSPC: no
 * VINTF or not enough VCMDQs are left; -ETIMEDOUT: the VINTF does not start;
 * -EBUSY: no offset is left for page 0; -EFAULT; -ENOMEM.
 */
int tegra241_guest_init(struct arm_vsmmu *vsmmu,
			const struct iommu_user_data *user_data)
{
	struct tegra241_guest *guest =
		container_of(vsmmu, struct tegra241_guest, vsmmu);
	struct tegra241_cmdqv *cmdqv = vsmmu->smmu->impl_priv;
	int ret;

	if (!user_data ||
	    user_data->len != sizeof(struct iommu_viommu_tegra241_cmdqv))
		return -EINVAL;

	guest->vintf.cmdqv = cmdqv;
	guest->vintf.num_lvcmdqs = tegra241_cmdqv_guest_vcmdqs(cmdqv);
	guest->max_log2size =
		FIELD_GET(IDR1_CMDQS,
			  tegra241_readl(vsmmu->smmu->base + ARM_SMMU_IDR1));
	mutex_init(&guest->lock);
	INIT_DELAYED_WORK(&guest->unmask, tegra241_guest_unmask);

	ret = tegra241_guest_get_indexes(guest);
	if (ret)
		return ret;
	ret = tegra241_guest_start(guest);
	if (ret)
		goto err_stop;
	ret = tegra241_guest_offer_page0(guest, user_data);
	if (ret)
		goto err_stop;

	tegra241_guest_publish(guest);
	vsmmu->core.ops = &tegra241_guest_ops;
	return 0;

err_stop:
	tegra241_guest_stop(guest);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_guest_init);

size_t tegra241_guest_size(struct arm_smmu_device *smmu, u32 type)
{
	struct tegra241_cmdqv *cmdqv = smmu->impl_priv;

	/* VINTF 0 is the kernel's */
	if (type != IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV || cmdqv->num_vintfs < 2)
		return 0;
	return iommufd_struct_size(struct tegra241_guest, vsmmu.core);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_guest_size);

void *tegra241_guest_hw_info(struct arm_smmu_device *smmu, u32 *length,
			     u32 *type)
{
	struct tegra241_cmdqv *cmdqv = smmu->impl_priv;
	struct iommu_hw_info_tegra241_cmdqv *info;

	if (*type != IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV || cmdqv->num_vintfs < 2)
		return ERR_PTR(-EOPNOTSUPP);

	info = kzalloc(sizeof(*info), GFP_KERNEL);
	if (!info)
		return ERR_PTR(-ENOMEM);
	info->version = TEGRA241_VERSION;
	info->log2vcmdqs = ilog2(tegra241_cmdqv_guest_vcmdqs(cmdqv));
	info->log2vsids = ilog2(cmdqv->num_sid_slots);
	*length = sizeof(*info);
	return info;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_guest_hw_info);

MODULE_IMPORT_NS(IOMMUFD);
