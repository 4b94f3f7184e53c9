// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mock IOMMU's vIOMMU: for each device behind it a cache of a few words,
 * which user space invalidates and looks at, and events on demand.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <linux/iommu.h>

#include "iommufd_private.h"
#include "selftest_viommu.h"

struct mock_viommu {
	struct iommufd_viommu core;
	struct iommu_domain *parent;

	/* The page to map; 0 without data from user space */
	unsigned long page;
	unsigned long mmap_offset;

	/* Protects queues */
	struct mutex queue_mutex;
	struct mock_hw_queue *queues[IOMMU_TEST_HW_QUEUE_MAX];
};

/* Queue 1 depends on queue 0 */
struct mock_hw_queue {
	struct iommufd_hw_queue core;
	struct mock_hw_queue *before;
};

void mock_viommu_dev_init(struct mock_viommu_dev *vdev)
{
	init_rwsem(&vdev->rwsem);
	memset32(vdev->cache, IOMMU_TEST_DEV_CACHE_DEFAULT,
		 ARRAY_SIZE(vdev->cache));
}

/* @viommu is NULL for a domain that belongs to no vIOMMU */
int mock_viommu_attach(struct mock_viommu *viommu, struct device *dev)
{
	struct mock_viommu_dev *vdev = mock_dev_to_viommu_dev(dev);
	unsigned long virt_id = 0;
	int rc;

	if (viommu) {
		rc = iommufd_viommu_get_vdev_id(&viommu->core, dev, &virt_id);
		if (rc)
			return rc;
	}

	guard(rwsem_write)(&vdev->rwsem);
	vdev->viommu = viommu;
	vdev->virt_id = virt_id;
	return 0;
}

static struct iommu_domain *
mock_viommu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
				const struct iommu_user_data *user_data)
{
	struct mock_viommu *mock_viommu =
		container_of(viommu, struct mock_viommu, core);

	if (flags)
		return ERR_PTR(-EOPNOTSUPP);
	return mock_domain_alloc_nested(mock_viommu->parent, mock_viommu,
					user_data);
}

static int
mock_viommu_invalidate_one(struct iommufd_viommu *viommu,
			   const struct iommu_viommu_invalidate_selftest *inv)
{
	struct mock_viommu_dev *vdev;
	struct device *dev;
	int rc = 0;

	if (inv->flags & ~IOMMU_TEST_INVALIDATE_FLAG_ALL)
		return -EOPNOTSUPP;
	if (inv->cache_id > MOCK_DEV_CACHE_ID_MAX)
		return -EINVAL;

	xa_lock(&viommu->vdevs);
	dev = iommufd_viommu_find_dev(viommu, inv->vdev_id);
	if (dev) {
		vdev = mock_dev_to_viommu_dev(dev);
		if (inv->flags & IOMMU_TEST_INVALIDATE_FLAG_ALL)
			memset(vdev->cache, 0, sizeof(vdev->cache));
		else
			vdev->cache[inv->cache_id] = 0;
	} else {
		rc = -EINVAL;
	}
	xa_unlock(&viommu->vdevs);
	return rc;
}

static int mock_viommu_cache_invalidate(struct iommufd_viommu *viommu,
					struct iommu_user_data_array *array)
{
	const u32 type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
	struct iommu_viommu_invalidate_selftest inv;
	u32 done = 0;
	int rc = 0;

	if (array->type != type)
		rc = -EINVAL;
	while (!rc && done < array->entry_num) {
		rc = iommu_copy_struct_from_user_array(&inv, array, type, done,
						       cache_id);
		if (!rc)
			rc = mock_viommu_invalidate_one(viommu, &inv);
		if (!rc)
			done++;
	}
	array->entry_num = done;
	return rc;
}

static size_t mock_get_hw_queue_size(struct iommufd_viommu *viommu, u32 type)
{
	if (type != IOMMU_HW_QUEUE_TYPE_SELFTEST)
		return 0;
	return iommufd_struct_size(struct mock_hw_queue, core);
}

static void mock_hw_queue_destroy(struct iommufd_hw_queue *hw_queue)
{
	struct mock_viommu *mock_viommu =
		container_of(hw_queue->viommu, struct mock_viommu, core);
	struct mock_hw_queue *mock_queue =
		container_of(hw_queue, struct mock_hw_queue, core);

	guard(mutex)(&mock_viommu->queue_mutex);
	mock_viommu->queues[hw_queue->index] = NULL;
	if (mock_queue->before)
		iommufd_hw_queue_undepend(&mock_queue->before->core);
}

/* The address has to be what the page table of the parent says */
static bool mock_hw_queue_is_there(struct mock_viommu *mock_viommu,
				   struct iommufd_hw_queue *hw_queue,
				   phys_addr_t base)
{
	struct iommu_domain *parent = mock_viommu->parent;
	u64 page = ALIGN_DOWN(hw_queue->iova, PAGE_SIZE);

	return parent->ops->iova_to_phys(parent, page) +
		       offset_in_page(hw_queue->iova) == base;
}

static int mock_hw_queue_init(struct iommufd_hw_queue *hw_queue,
			      phys_addr_t base)
{
	struct mock_viommu *mock_viommu =
		container_of(hw_queue->viommu, struct mock_viommu, core);
	struct mock_hw_queue *mock_queue =
		container_of(hw_queue, struct mock_hw_queue, core);
	struct mock_hw_queue *before;
	u32 index = hw_queue->index;

	if (index >= IOMMU_TEST_HW_QUEUE_MAX ||
	    !mock_hw_queue_is_there(mock_viommu, hw_queue, base))
		return -EINVAL;

	guard(mutex)(&mock_viommu->queue_mutex);
	if (mock_viommu->queues[index])
		return -EEXIST;
	if (index) {
		before = mock_viommu->queues[index - 1];
		if (!before ||
		    iommufd_hw_queue_depend(hw_queue, &before->core))
			return -EIO;
		mock_queue->before = before;
	}
	mock_viommu->queues[index] = mock_queue;
	hw_queue->destroy = mock_hw_queue_destroy;
	return 0;
}

static void mock_viommu_destroy(struct iommufd_viommu *viommu)
{
	struct mock_viommu *mock_viommu =
		container_of(viommu, struct mock_viommu, core);

	if (mock_viommu->page) {
		iommufd_viommu_free_mmap(viommu, mock_viommu->mmap_offset);
		free_page(mock_viommu->page);
	}
	mutex_destroy(&mock_viommu->queue_mutex);
}

static const struct iommufd_viommu_ops mock_viommu_ops = {
	.destroy = mock_viommu_destroy,
	.alloc_domain_nested = mock_viommu_alloc_domain_nested,
	.cache_invalidate = mock_viommu_cache_invalidate,
	.get_hw_queue_size = mock_get_hw_queue_size,
	.hw_queue_init = mock_hw_queue_init,
};

size_t mock_get_viommu_size(struct device *dev, u32 type)
{
	if (type != IOMMU_VIOMMU_TYPE_SELFTEST)
		return 0;
	return iommufd_struct_size(struct mock_viommu, core);
}

static int mock_viommu_alloc_page(struct mock_viommu *mock_viommu, u32 value)
{
	int rc;

	mock_viommu->page = get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!mock_viommu->page)
		return -ENOMEM;
	*(u32 *)mock_viommu->page = value;

	rc = iommufd_viommu_alloc_mmap(&mock_viommu->core,
				       __pa(mock_viommu->page), PAGE_SIZE,
				       &mock_viommu->mmap_offset);
	if (rc) {
		free_page(mock_viommu->page);
		mock_viommu->page = 0;
	}
	return rc;
}

static int mock_viommu_exchange(struct mock_viommu *mock_viommu,
				const struct iommu_user_data *user_data)
{
	const size_t min_len = offsetofend(struct iommu_viommu_selftest,
					   out_mmap_length);
	const u32 type = IOMMU_VIOMMU_TYPE_SELFTEST;
	struct iommu_viommu_selftest data;
	int rc;

	rc = iommu_copy_struct_from_user(&data, user_data, type,
					 out_mmap_length);
	if (rc)
		return rc;
	rc = mock_viommu_alloc_page(mock_viommu, data.in_data);
	if (rc)
		return rc;
	data.out_data = data.in_data;
	data.out_mmap_offset = mock_viommu->mmap_offset;
	data.out_mmap_length = PAGE_SIZE;
	return iommu_copy_struct_to_user(user_data, &data, type, sizeof(data),
					 min_len);
}

int mock_viommu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		     const struct iommu_user_data *user_data)
{
	struct mock_viommu *mock_viommu =
		container_of(viommu, struct mock_viommu, core);
	int rc = 0;

	mock_viommu->parent = parent;
	mutex_init(&mock_viommu->queue_mutex);
	if (user_data)
		rc = mock_viommu_exchange(mock_viommu, user_data);
	if (rc) {
		mock_viommu_destroy(viommu);
		return rc;
	}
	viommu->ops = &mock_viommu_ops;
	return 0;
}

static struct iommufd_device *get_mock_idev(struct iommufd_ucmd *ucmd, u32 id)
{
	struct iommufd_device *idev = iommufd_get_device(ucmd, id);

	if (IS_ERR(idev) || iommufd_selftest_is_mock_dev(idev->dev))
		return idev;
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return ERR_PTR(-EINVAL);
}

int iommufd_test_dev_check_cache(struct iommufd_ucmd *ucmd,
				 struct iommu_test_cmd *cmd)
{
	struct iommufd_device *idev;
	int rc = -EINVAL;

	if (cmd->check_dev_cache.id > MOCK_DEV_CACHE_ID_MAX)
		return rc;

	idev = get_mock_idev(ucmd, cmd->id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	if (mock_dev_to_viommu_dev(idev->dev)->cache[cmd->check_dev_cache.id] ==
	    cmd->check_dev_cache.cache)
		rc = 0;
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc;
}

int iommufd_test_trigger_vevent(struct iommufd_ucmd *ucmd,
				struct iommu_test_cmd *cmd)
{
	const u32 type = IOMMU_VEVENTQ_TYPE_SELFTEST;
	struct iommu_viommu_event_selftest event = {};
	struct iommufd_viommu *viommu;
	struct mock_viommu_dev *vdev;
	struct iommufd_device *idev;
	int rc = -ENOENT;

	idev = get_mock_idev(ucmd, cmd->trigger_vevent.dev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);

	vdev = mock_dev_to_viommu_dev(idev->dev);
	scoped_guard(rwsem_read, &vdev->rwsem) {
		if (vdev->viommu) {
			event.virt_id = vdev->virt_id;
			viommu = &vdev->viommu->core;
			rc = iommufd_viommu_report_event(viommu, type, &event,
							 sizeof(event));
		}
	}
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc;
}
