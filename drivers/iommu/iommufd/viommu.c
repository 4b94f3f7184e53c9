// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vIOMMU object: the part of a physical IOMMU that a VM sees.
 *
 * Objects and who holds whom (by iommufd_object::users, so that IOMMU_DESTROY
 * answers EBUSY):
 *
 *	IOAS <- HWPT_PAGING (nesting parent) <- vIOMMU <- HWPT_NESTED
 *						       <- vDEVICE
 *						       <- vEVENTQ <- its fd
 *						       <- HW queue <- HW queue
 *						       <- its mapped registers
 *
 * A vDEVICE is tied to its device in another way, see vdevice.c.
 *
 * The ioctls that make an object copy their answer to user space before the
 * object can be seen by anyone: in another thread, in the driver's tables, in
 * an interrupt. So there is nothing to take back when the copy fails. The
 * vIOMMU itself is the exception: its driver may be telling of its errors
 * already, and takes it back when it is destroyed.
 *
 * Locks, outermost first: iommufd_group::lock, the IOMMU driver's own locks,
 * iommufd_viommu::veventqs_rwsem, iommufd_veventq::lock. The xa_lock of
 * iommufd_viommu::vdevs is a leaf.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <linux/iommu.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

void iommufd_viommu_destroy(struct iommufd_object *obj)
{
	struct iommufd_viommu *viommu =
		container_of(obj, struct iommufd_viommu, obj);

	if (viommu->ops && viommu->ops->destroy)
		viommu->ops->destroy(viommu);
	xa_destroy(&viommu->vdevs);
	refcount_dec(&viommu->hwpt->common.obj.users);
}

static struct iommufd_viommu *
viommu_create(struct iommufd_ucmd *ucmd, struct iommufd_device *idev,
	      struct iommufd_hwpt_paging *hwpt_paging, size_t size)
{
	const struct iommu_ops *ops = dev_iommu_ops(idev->dev);
	struct iommu_viommu_alloc *cmd = ucmd->cmd;
	const struct iommu_user_data user_data = {
		.type = cmd->type,
		.uptr = u64_to_user_ptr(cmd->data_uptr),
		.len = cmd->data_len,
	};
	struct iommufd_viommu *viommu;
	int rc;

	viommu = container_of(_iommufd_object_alloc(ucmd->ictx, size,
						    IOMMUFD_OBJ_VIOMMU),
			      struct iommufd_viommu, obj);
	if (IS_ERR(viommu))
		return viommu;

	viommu->type = cmd->type;
	viommu->ictx = ucmd->ictx;
	viommu->iommu_dev = idev->dev->iommu->iommu_dev;
	viommu->hwpt = hwpt_paging;
	refcount_inc(&hwpt_paging->common.obj.users);
	xa_init(&viommu->vdevs);
	INIT_LIST_HEAD(&viommu->veventqs);
	init_rwsem(&viommu->veventqs_rwsem);

	rc = ops->viommu_init(viommu, hwpt_paging->common.domain,
			      user_data.len ? &user_data : NULL);
	if (!rc && WARN_ON_ONCE(!viommu->ops))
		rc = -EOPNOTSUPP;
	if (rc) {
		iommufd_object_abort_and_destroy(ucmd->ictx, &viommu->obj);
		return ERR_PTR(rc);
	}
	return viommu;
}

int iommufd_viommu_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_viommu_alloc *cmd = ucmd->cmd;
	struct iommufd_hwpt_paging *hwpt_paging;
	struct iommufd_viommu *viommu;
	struct iommufd_device *idev;
	const struct iommu_ops *ops;
	size_t size = 0;
	int rc;

	if (cmd->flags || cmd->__reserved ||
	    cmd->type == IOMMU_VIOMMU_TYPE_DEFAULT)
		return -EOPNOTSUPP;

	idev = iommufd_get_device(ucmd, cmd->dev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);

	ops = dev_iommu_ops(idev->dev);
	if (ops->get_viommu_size && ops->viommu_init)
		size = ops->get_viommu_size(idev->dev, cmd->type);
	if (!size || WARN_ON_ONCE(size < sizeof(*viommu))) {
		rc = -EOPNOTSUPP;
		goto out_put_idev;
	}

	hwpt_paging = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);
	if (IS_ERR(hwpt_paging)) {
		rc = PTR_ERR(hwpt_paging);
		goto out_put_idev;
	}
	if (!hwpt_paging->nest_parent ||
	    hwpt_paging->common.domain->owner != ops) {
		rc = -EINVAL;
		goto out_put_hwpt;
	}

	viommu = viommu_create(ucmd, idev, hwpt_paging, size);
	if (IS_ERR(viommu)) {
		rc = PTR_ERR(viommu);
		goto out_put_hwpt;
	}

	cmd->out_viommu_id = viommu->obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		iommufd_object_abort_and_destroy(ucmd->ictx, &viommu->obj);
	else
		iommufd_object_finalize(ucmd->ictx, &viommu->obj);
out_put_hwpt:
	iommufd_put_object(ucmd->ictx, &hwpt_paging->common.obj);
out_put_idev:
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc;
}
