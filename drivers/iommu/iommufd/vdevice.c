// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vDEVICE object: a device as a vIOMMU sees it, with a virtual ID.
 *
 * A vDEVICE may not outlive its device, but it is user space that makes and
 * destroys it, and a driver such as VFIO that unbinds the device. So it holds
 * no "users" of the device, which would keep the driver from unbinding, and:
 *
 * - iommufd_device::vdev and iommufd_vdevice::idev point to each other.
 *   iommufd_group::lock protects the pair, and is held while the IOMMU driver
 *   is told of a vDEVICE or of its end.
 * - A vDEVICE holds "shortterm_users" of the device. iommufd_device_unbind()
 *   waits for these, after it has destroyed the vDEVICE itself or found that
 *   someone else is about to.
 * - iommufd_device::unbinding keeps new ones away.
 *
 * The ID of a vDEVICE that went with its device stays a tombstone, so that user
 * space can't hit another object with it.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <linux/iommu.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

void iommufd_vdevice_destroy(struct iommufd_object *obj)
{
	struct iommufd_vdevice *vdev =
		container_of(obj, struct iommufd_vdevice, obj);
	struct iommufd_viommu *viommu = vdev->viommu;
	struct iommufd_device *idev = vdev->idev;

	scoped_guard(mutex, &idev->igroup->lock) {
		xa_erase(&viommu->vdevs, vdev->virt_id);
		if (vdev->destroy)
			vdev->destroy(vdev);
		idev->vdev = NULL;
	}
	iommufd_put_shortterm(viommu->ictx, &idev->obj);
	refcount_dec(&viommu->obj.users);
}

/**
 * iommufd_device_retire_vdev() - Destroy the vDEVICE of a device for good
 * @idev: device that is being unbound
 *
 * Context: may sleep, for as long as an ioctl has a hold on the vDEVICE.
 */
void iommufd_device_retire_vdev(struct iommufd_device *idev)
{
	struct iommufd_vdevice *vdev;

	scoped_guard(mutex, &idev->igroup->lock) {
		idev->unbinding = true;
		vdev = idev->vdev;
		/* No users: IOMMU_DESTROY is at it, and waits for the lock */
		if (!vdev || !refcount_inc_not_zero(&vdev->obj.users))
			return;
	}
	WARN_ON(iommufd_object_remove(idev->ictx, &vdev->obj, vdev->obj.id,
				      REMOVE_WAIT_SHORTTERM |
					      REMOVE_TOMBSTONE));
}

/* Everything that can fail is done before the vDEVICE can be found */
static int vdevice_publish(struct iommufd_vdevice *vdev, u64 virt_id)
{
	struct iommufd_viommu *viommu = vdev->viommu;
	struct iommufd_device *idev = vdev->idev;
	int rc;

	guard(mutex)(&idev->igroup->lock);
	if (idev->unbinding)
		return -ENOENT;
	if (idev->vdev)
		return -EEXIST;

	/* A place for it, which nobody sees yet */
	rc = xa_insert(&viommu->vdevs, virt_id, NULL, GFP_KERNEL_ACCOUNT);
	if (rc)
		return rc == -EBUSY ? -EEXIST : rc;

	vdev->virt_id = virt_id;
	if (viommu->ops->vdevice_init) {
		rc = viommu->ops->vdevice_init(vdev);
		if (rc) {
			xa_release(&viommu->vdevs, virt_id);
			return rc;
		}
	}

	refcount_inc(&viommu->obj.users);
	refcount_inc(&idev->obj.shortterm_users);
	idev->vdev = vdev;
	xa_store(&viommu->vdevs, virt_id, vdev, GFP_KERNEL);
	iommufd_object_finalize(viommu->ictx, &vdev->obj);
	return 0;
}

static int vdevice_create(struct iommufd_ucmd *ucmd,
			  struct iommufd_viommu *viommu,
			  struct iommufd_device *idev)
{
	struct iommu_vdevice_alloc *cmd = ucmd->cmd;
	struct iommufd_vdevice *vdev;
	size_t size;
	int rc;

	size = viommu->ops->vdevice_size ?: sizeof(*vdev);
	if (WARN_ON_ONCE(size < sizeof(*vdev)))
		return -EOPNOTSUPP;

	vdev = container_of(_iommufd_object_alloc(ucmd->ictx, size,
						  IOMMUFD_OBJ_VDEVICE),
			    struct iommufd_vdevice, obj);
	if (IS_ERR(vdev))
		return PTR_ERR(vdev);
	vdev->viommu = viommu;
	vdev->idev = idev;

	cmd->out_vdevice_id = vdev->obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (!rc)
		rc = vdevice_publish(vdev, cmd->virt_id);
	if (rc)
		iommufd_object_abort(ucmd->ictx, &vdev->obj);
	return rc;
}

int iommufd_vdevice_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_vdevice_alloc *cmd = ucmd->cmd;
	struct iommufd_viommu *viommu;
	struct iommufd_device *idev;
	int rc;

	/* The xarray's index */
	if (cmd->virt_id > ULONG_MAX)
		return -EINVAL;

	viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	idev = iommufd_get_device(ucmd, cmd->dev_id);
	if (IS_ERR(idev)) {
		rc = PTR_ERR(idev);
		goto out_put_viommu;
	}

	if (viommu->iommu_dev == idev->dev->iommu->iommu_dev)
		rc = vdevice_create(ucmd, viommu, idev);
	else
		rc = -EINVAL;

	iommufd_put_object(ucmd->ictx, &idev->obj);
out_put_viommu:
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
