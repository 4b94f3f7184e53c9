/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What IOMMU drivers and iommufd share about virtual IOMMUs.
 *
 * A VMM makes a vIOMMU for each IOMMU that it shows to its guest, with a
 * vDEVICE for each passed-through device behind it, vEVENTQs through which it
 * reads what the hardware has to tell the guest, and HW queues, which the guest
 * fills and the hardware reads. The IOMMU driver takes part
 * through the functions below. iommufd allocates and frees the structures; a
 * driver that needs more than they hold embeds them as first member of its own
 * and tells the size.
 *
 * A driver may be built in while iommufd is a module: it calls nothing but what
 * drivers/iommu/iommufd/driver.c has.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#ifndef __LINUX_IOMMUFD_VIOMMU_H
#define __LINUX_IOMMUFD_VIOMMU_H

#include <linux/iommufd.h>
#include <linux/list.h>
#include <linux/rwsem.h>
#include <linux/xarray.h>
#include <uapi/linux/iommufd.h>

struct iommu_device;
struct iommu_domain;
struct iommu_user_data;
struct iommu_user_data_array;
struct iommufd_hwpt_paging;
struct iommufd_viommu_ops;

/**
 * struct iommufd_viommu - the part of a physical IOMMU that a VM sees
 * @obj: iommufd's handle
 * @ictx: iommufd context
 * @iommu_dev: the physical IOMMU
 * @hwpt: the parent of all nested page tables of this vIOMMU
 * @ops: what the driver does, set by its viommu_init() when nothing can fail
 *       any more
 * @vdevs: the vDEVICEs by virtual ID. A driver may look entries up with
 *         xa_lock() held; see iommufd_viommu_find_dev()
 * @veventqs: the vEVENTQs
 * @veventqs_rwsem: protects @veventqs
 * @type: enum iommu_viommu_type
 */
struct iommufd_viommu {
	struct iommufd_object obj;
	struct iommufd_ctx *ictx;
	struct iommu_device *iommu_dev;
	struct iommufd_hwpt_paging *hwpt;
	const struct iommufd_viommu_ops *ops;
	struct xarray vdevs;
	struct list_head veventqs;
	struct rw_semaphore veventqs_rwsem;
	u32 type;
};

/**
 * struct iommufd_vdevice - a device as a vIOMMU sees it
 * @obj: iommufd's handle
 * @viommu: the vIOMMU
 * @idev: the physical device, see iommufd_vdevice_to_device()
 * @virt_id: ID of the device on the vIOMMU; for SMMUv3 the stream ID in the
 *           guest
 * @destroy: undoes the driver's vdevice_init(); may be NULL
 */
struct iommufd_vdevice {
	struct iommufd_object obj;
	struct iommufd_viommu *viommu;
	struct iommufd_device *idev;
	u64 virt_id;
	void (*destroy)(struct iommufd_vdevice *vdev);
};

/**
 * struct iommufd_hw_queue - a queue of a VM that the hardware reads
 * @obj: iommufd's handle
 * @viommu: the vIOMMU
 * @type: enum iommu_hw_queue_type
 * @index: number of the queue in the vIOMMU
 * @iova: where it starts, in the parent page table
 * @length: its length in bytes
 * @destroy: undoes the driver's hw_queue_init(); the hardware doesn't read the
 *           queue any more when it returns. May be NULL
 */
struct iommufd_hw_queue {
	struct iommufd_object obj;
	struct iommufd_viommu *viommu;
	u32 type;
	u32 index;
	u64 iova;
	u64 length;
	void (*destroy)(struct iommufd_hw_queue *hw_queue);
};

/**
 * struct iommufd_viommu_ops - what an IOMMU driver does for a vIOMMU
 * @destroy: undo viommu_init(). Returns when no interrupt handler can reach the
 *           vIOMMU any more. May be NULL
 * @alloc_domain_nested: allocate a domain of type IOMMU_DOMAIN_NESTED on the
 *                       parent, as the user data describes. ERR_PTR on failure
 * @cache_invalidate: do the invalidations of the array. Whatever it returns,
 *                    array->entry_num is the number of entries done
 * @vdevice_size: size of the driver's structure with struct iommufd_vdevice as
 *                first member; 0: the plain one will do
 * @vdevice_init: make a vDEVICE known to the hardware; called with the lock of
 *                the device's iommufd group held, before it is in @vdevs. On
 *                failure the driver has undone what it did. May be NULL
 * @get_hw_queue_size: size of the driver's structure for a queue of this type
 *                     (enum iommu_hw_queue_type), with struct iommufd_hw_queue
 *                     as first member; 0 if there are none
 * @hw_queue_init: have the hardware use a queue. Its memory is contiguous, at the
 *                 physical address given, and stays there. On failure the driver
 *                 has undone what it did. Goes with @get_hw_queue_size
 *
 * All may sleep.
 */
struct iommufd_viommu_ops {
	void (*destroy)(struct iommufd_viommu *viommu);
	struct iommu_domain *
	(*alloc_domain_nested)(struct iommufd_viommu *viommu, u32 flags,
			       const struct iommu_user_data *user_data);
	int (*cache_invalidate)(struct iommufd_viommu *viommu,
				struct iommu_user_data_array *array);
	size_t vdevice_size;
	int (*vdevice_init)(struct iommufd_vdevice *vdev);
	size_t (*get_hw_queue_size)(struct iommufd_viommu *viommu, u32 type);
	int (*hw_queue_init)(struct iommufd_hw_queue *hw_queue,
			     phys_addr_t base);
};

#if IS_ENABLED(CONFIG_IOMMUFD_DRIVER_CORE)
struct device *iommufd_vdevice_to_device(struct iommufd_vdevice *vdev);
struct device *iommufd_viommu_find_dev(struct iommufd_viommu *viommu,
				       unsigned long virt_id);
int iommufd_viommu_get_vdev_id(struct iommufd_viommu *viommu,
			       struct device *dev, unsigned long *virt_id);
int iommufd_hw_queue_depend(struct iommufd_hw_queue *hw_queue,
			    struct iommufd_hw_queue *on);
void iommufd_hw_queue_undepend(struct iommufd_hw_queue *on);
int iommufd_viommu_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t phys,
			      size_t length, unsigned long *offset);
void iommufd_viommu_free_mmap(struct iommufd_viommu *viommu,
			      unsigned long offset);
int iommufd_viommu_report_event(struct iommufd_viommu *viommu, u32 type,
				const void *data, size_t len);
#endif

/* Size of a driver's structure whose first member is iommufd's one */
#define iommufd_struct_size(drv_struct, member) \
	(sizeof(drv_struct) + BUILD_BUG_ON_ZERO(offsetof(drv_struct, member)))

#endif
