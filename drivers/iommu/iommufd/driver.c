// SPDX-License-Identifier: GPL-2.0-only
/*
 * What IOMMU drivers call. They may be built in while iommufd is a module, so
 * this file is built in whenever there is iommufd, and calls nothing of it.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <linux/export.h>

#include "iommufd_private.h"

/**
 * iommufd_vdevice_to_device() - The physical device behind a vDEVICE
 * @vdev: vDEVICE
 *
 * Return: the device, which stays for as long as the vDEVICE.
 */
struct device *iommufd_vdevice_to_device(struct iommufd_vdevice *vdev)
{
	return vdev->idev->dev;
}
EXPORT_SYMBOL_NS_GPL(iommufd_vdevice_to_device, IOMMUFD);

/**
 * iommufd_viommu_find_dev() - Find a device by its virtual ID
 * @viommu: vIOMMU
 * @virt_id: virtual ID
 *
 * Context: xa_lock() of @viommu->vdevs is held; the device may be gone when it is
 * released.
 * Return: the device, NULL if there is no such vDEVICE.
 */
struct device *iommufd_viommu_find_dev(struct iommufd_viommu *viommu,
				       unsigned long virt_id)
{
	struct iommufd_vdevice *vdev;

	lockdep_assert_held(&viommu->vdevs.xa_lock);

	vdev = xa_load(&viommu->vdevs, virt_id);
	return vdev ? iommufd_vdevice_to_device(vdev) : NULL;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_find_dev, IOMMUFD);

/**
 * iommufd_viommu_get_vdev_id() - Find the virtual ID of a device
 * @viommu: vIOMMU
 * @dev: physical device
 * @virt_id: where to store the ID
 *
 * Context: doesn't sleep; takes xa_lock() of @viommu->vdevs.
 * Return: 0, -ENOENT if the vIOMMU has no vDEVICE for @dev.
 */
int iommufd_viommu_get_vdev_id(struct iommufd_viommu *viommu,
			       struct device *dev, unsigned long *virt_id)
{
	struct iommufd_vdevice *vdev;
	unsigned long index;
	int rc = -ENOENT;

	xa_lock(&viommu->vdevs);
	xa_for_each(&viommu->vdevs, index, vdev) {
		if (iommufd_vdevice_to_device(vdev) == dev) {
			*virt_id = index;
			rc = 0;
			break;
		}
	}
	xa_unlock(&viommu->vdevs);
	return rc;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_get_vdev_id, IOMMUFD);

/**
 * iommufd_hw_queue_depend() - Keep a queue from being destroyed before another
 * @hw_queue: queue that depends
 * @on: queue of the same type that it depends on
 *
 * Context: doesn't sleep. The driver sees to it that @on is not freed meanwhile.
 * Return: 0; -ENOENT if @on is being destroyed already. To be undone by
 * iommufd_hw_queue_undepend().
 */
int iommufd_hw_queue_depend(struct iommufd_hw_queue *hw_queue,
			    struct iommufd_hw_queue *on)
{
	if (WARN_ON_ONCE(hw_queue == on || hw_queue->type != on->type ||
			 hw_queue->viommu != on->viommu))
		return -EINVAL;
	return refcount_inc_not_zero(&on->obj.users) ? 0 : -ENOENT;
}
EXPORT_SYMBOL_NS_GPL(iommufd_hw_queue_depend, IOMMUFD);

/**
 * iommufd_hw_queue_undepend() - Undo iommufd_hw_queue_depend()
 * @on: queue that was depended on
 */
void iommufd_hw_queue_undepend(struct iommufd_hw_queue *on)
{
	refcount_dec(&on->obj.users);
}
EXPORT_SYMBOL_NS_GPL(iommufd_hw_queue_undepend, IOMMUFD);

/**
 * iommufd_viommu_alloc_mmap() - Let user space map registers of a vIOMMU
 * @viommu: vIOMMU
 * @phys: where they are, at the start of a page
 * @length: their length in bytes, whole pages
 * @offset: where to store the offset for user space's mmap()
 *
 * The mapping works from the time on that the vIOMMU is complete. The driver
 * calls iommufd_viommu_free_mmap() in its destroy(), or when its viommu_init()
 * fails.
 *
 * Context: may sleep.
 * Return: 0; -EINVAL: not whole pages; -ENOMEM; -EBUSY: no offset is left.
 */
int iommufd_viommu_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t phys,
			      size_t length, unsigned long *offset)
{
	struct iommufd_mmap *region;
	int rc;

	if (WARN_ON_ONCE(!length || !PAGE_ALIGNED(length) ||
			 !PAGE_ALIGNED(phys)))
		return -EINVAL;

	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		return -ENOMEM;
	region->owner = &viommu->obj;
	region->phys = phys;
	region->length = length;

	/* Never 0, which is what a program maps that has not asked */
	rc = mtree_alloc_range(&viommu->ictx->mt_mmap, offset, region, length,
			       PAGE_SIZE, ULONG_MAX, GFP_KERNEL_ACCOUNT);
	if (rc) {
		kfree(region);
		return rc;
	}
	region->offset = *offset;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_alloc_mmap, IOMMUFD);

/**
 * iommufd_viommu_free_mmap() - Undo iommufd_viommu_alloc_mmap()
 * @viommu: vIOMMU; nothing of it is mapped
 * @offset: offset as iommufd_viommu_alloc_mmap() gave it
 */
void iommufd_viommu_free_mmap(struct iommufd_viommu *viommu,
			      unsigned long offset)
{
	kfree(mtree_erase(&viommu->ictx->mt_mmap, offset));
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_free_mmap, IOMMUFD);

/* Nobody waits for room: what doesn't fit is lost, and counted */
static void veventq_add(struct iommufd_veventq *veventq, const void *data,
			size_t len)
{
	struct iommufd_vevent *event = NULL;

	/* A queue that is full should not cost a host more than this */
	if (READ_ONCE(veventq->num_events) < veventq->depth)
		event = kmalloc(struct_size(event, data, len), GFP_NOWAIT);

	scoped_guard(spinlock, &veventq->lock) {
		veventq->sequence = (veventq->sequence + 1) & INT_MAX;
		if (event && veventq->num_events < veventq->depth) {
			event->header.flags = 0;
			event->header.sequence = veventq->sequence;
			event->len = len;
			memcpy(event->data, data, len);
			list_add_tail(&event->item, &veventq->events);
			WRITE_ONCE(veventq->num_events,
				   veventq->num_events + 1);
			veventq->lost = false;
			event = NULL;
		} else {
			veventq->lost = true;
		}
	}
	kfree(event);
	wake_up_interruptible(&veventq->wait_queue);
}

/**
 * iommufd_viommu_report_event() - Hand an event to the VM
 * @viommu: vIOMMU
 * @type: enum iommu_veventq_type
 * @data: the event as the type's uAPI describes it
 * @len: its length in bytes
 *
 * Context: may sleep, but not for memory; a threaded interrupt handler may call
 * it.
 * Return: 0, also when the event was lost for want of room; -EOPNOTSUPP when the
 * vIOMMU has no vEVENTQ of this type.
 */
int iommufd_viommu_report_event(struct iommufd_viommu *viommu, u32 type,
				const void *data, size_t len)
{
	struct iommufd_veventq *veventq;

	guard(rwsem_read)(&viommu->veventqs_rwsem);
	list_for_each_entry(veventq, &viommu->veventqs, item) {
		if (veventq->type == type) {
			veventq_add(veventq, data, len);
			return 0;
		}
	}
	return -EOPNOTSUPP;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_report_event, IOMMUFD);

MODULE_DESCRIPTION("What IOMMU drivers call of iommufd");
MODULE_LICENSE("GPL");
