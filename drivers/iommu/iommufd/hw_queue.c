// SPDX-License-Identifier: GPL-2.0-only
/*
 * The HW queue object: a queue in the VM's memory that the hardware reads on its
 * own.
 *
 * The hardware knows physical addresses, so the memory is pinned, and has to be
 * contiguous. It is pinned in the IOAS of the vIOMMU's parent page table, block
 * by block, so that a length from user space costs no memory of the kernel. The
 * areas are locked: unmapping them fails until the queue is destroyed.
 *
 * A queue may depend on another one of the same vIOMMU, and holds its "users"
 * then: the other can't be destroyed first.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <linux/iommu.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

/* More than any hardware reads, and short enough to be pinned in one go */
#define HW_QUEUE_MAX_BYTES SZ_64M

/* Pages that are pinned at a time */
#define HW_QUEUE_BLOCK_PAGES 512UL
#define HW_QUEUE_BLOCK_BYTES (HW_QUEUE_BLOCK_PAGES * PAGE_SIZE)

/* The last address of the block that @iova, a page's, is in */
static u64 block_last(u64 iova, u64 last)
{
	return min(iova | (HW_QUEUE_BLOCK_BYTES - 1), last);
}

static void hw_queue_unpin(struct iommufd_hw_queue *hw_queue, u64 first,
			   u64 last)
{
	struct io_pagetable *iopt = &hw_queue->viommu->hwpt->ioas->iopt;
	u64 iova, end;

	for (iova = first;; iova = end + 1) {
		end = block_last(iova, last);
		iopt_unpin_pages(iopt, iova, end, true);
		if (end == last)
			break;
	}
}

/* Pin a block that has to go on at @phys, unless that is 0 */
static int hw_queue_pin_block(struct iommufd_hw_queue *hw_queue, u64 first,
			      u64 last, struct page **pages, phys_addr_t *phys)
{
	struct io_pagetable *iopt = &hw_queue->viommu->hwpt->ioas->iopt;
	unsigned long npages = (last - first) / PAGE_SIZE + 1;
	unsigned long i;
	int rc;

	rc = iopt_pin_pages(iopt, first, last, pages, 0, true);
	if (rc)
		return rc;

	if (!*phys)
		*phys = page_to_phys(pages[0]);
	for (i = 0; i < npages; i++, *phys += PAGE_SIZE) {
		if (page_to_phys(pages[i]) != *phys) {
			iopt_unpin_pages(iopt, first, last, true);
			dev_warn_ratelimited(hw_queue->viommu->iommu_dev->dev,
					     "HW queue %u: its %llu bytes are not contiguous in the host's memory; back the VM's memory by larger pages, or give it smaller queues\n",
					     hw_queue->index, hw_queue->length);
			return -EFAULT;
		}
	}
	return 0;
}

/* The pages that the queue touches, in full */
static u64 hw_queue_first(const struct iommufd_hw_queue *hw_queue)
{
	return ALIGN_DOWN(hw_queue->iova, PAGE_SIZE);
}

static u64 hw_queue_last(const struct iommufd_hw_queue *hw_queue)
{
	return (hw_queue->iova + hw_queue->length - 1) | (PAGE_SIZE - 1);
}

/* Returns the physical address of the queue in @base */
static int hw_queue_pin(struct iommufd_hw_queue *hw_queue, phys_addr_t *base)
{
	u64 first = hw_queue_first(hw_queue);
	u64 last = hw_queue_last(hw_queue);
	phys_addr_t phys = 0;
	struct page **pages;
	u64 iova, end;
	int rc;

	pages = kmalloc_array(HW_QUEUE_BLOCK_PAGES, sizeof(*pages),
			      GFP_KERNEL_ACCOUNT);
	if (!pages)
		return -ENOMEM;

	for (iova = first;; iova = end + 1) {
		end = block_last(iova, last);
		rc = hw_queue_pin_block(hw_queue, iova, end, pages, &phys);
		if (rc || end == last)
			break;
	}
	kfree(pages);

	if (rc) {
		if (iova > first)
			hw_queue_unpin(hw_queue, first, iova - 1);
		return rc;
	}
	*base = phys - (last - first + 1) + offset_in_page(hw_queue->iova);
	return 0;
}

void iommufd_hw_queue_destroy(struct iommufd_object *obj)
{
	struct iommufd_hw_queue *hw_queue =
		container_of(obj, struct iommufd_hw_queue, obj);

	if (hw_queue->destroy)
		hw_queue->destroy(hw_queue);
	hw_queue_unpin(hw_queue, hw_queue_first(hw_queue),
		       hw_queue_last(hw_queue));
	refcount_dec(&hw_queue->viommu->obj.users);
}

/* Everything that can fail is done before the driver knows of the queue */
static int hw_queue_publish(struct iommufd_hw_queue *hw_queue)
{
	struct iommufd_viommu *viommu = hw_queue->viommu;
	phys_addr_t base;
	int rc;

	rc = hw_queue_pin(hw_queue, &base);
	if (rc)
		return rc;

	rc = viommu->ops->hw_queue_init(hw_queue, base);
	if (rc) {
		hw_queue_unpin(hw_queue, hw_queue_first(hw_queue),
			       hw_queue_last(hw_queue));
		return rc;
	}
	refcount_inc(&viommu->obj.users);
	iommufd_object_finalize(viommu->ictx, &hw_queue->obj);
	return 0;
}

static int hw_queue_create(struct iommufd_ucmd *ucmd,
			   struct iommufd_viommu *viommu)
{
	struct iommu_hw_queue_alloc *cmd = ucmd->cmd;
	struct iommufd_hw_queue *hw_queue;
	size_t size = 0;
	int rc;

	if (viommu->ops->get_hw_queue_size && viommu->ops->hw_queue_init)
		size = viommu->ops->get_hw_queue_size(viommu, cmd->type);
	if (!size || WARN_ON_ONCE(size < sizeof(*hw_queue)))
		return -EOPNOTSUPP;

	hw_queue = container_of(_iommufd_object_alloc(ucmd->ictx, size,
						      IOMMUFD_OBJ_HW_QUEUE),
				struct iommufd_hw_queue, obj);
	if (IS_ERR(hw_queue))
		return PTR_ERR(hw_queue);
	hw_queue->viommu = viommu;
	hw_queue->type = cmd->type;
	hw_queue->index = cmd->index;
	hw_queue->iova = cmd->nesting_parent_iova;
	hw_queue->length = cmd->length;

	cmd->out_hw_queue_id = hw_queue->obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (!rc)
		rc = hw_queue_publish(hw_queue);
	if (rc)
		iommufd_object_abort(ucmd->ictx, &hw_queue->obj);
	return rc;
}

int iommufd_hw_queue_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_hw_queue_alloc *cmd = ucmd->cmd;
	struct iommufd_viommu *viommu;
	u64 last;
	int rc;

	if (cmd->flags || cmd->type == IOMMU_HW_QUEUE_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->length)
		return -EINVAL;
	if (check_add_overflow(cmd->nesting_parent_iova, cmd->length - 1,
			       &last) || last > ULONG_MAX)
		return -EOVERFLOW;
	if (cmd->length > HW_QUEUE_MAX_BYTES)
		return -EINVAL;

	viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	rc = hw_queue_create(ucmd, viommu);
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
