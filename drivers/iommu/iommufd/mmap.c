// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers of a vIOMMU that user space maps.
 *
 * A driver that has a page of registers for a VM makes it known with
 * iommufd_viommu_alloc_mmap(), in driver.c, and tells user space the offset at
 * which mmap() of the iommufd finds it. The offset is a cookie: nothing but the
 * whole page, or pages, can be mapped.
 *
 * iommufd_ctx::mt_mmap has the cookies, and its lock protects them. A mapping
 * holds the owner's "users", so that the owner can't be destroyed before the
 * mapping is gone; nothing ever has to be taken away from user space. Before the
 * owner is finalized its cookie is of no use: user space could hold the mapping
 * of an object that fails to be made.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <linux/mm.h>

#include "iommufd_private.h"

static void iommufd_vma_open(struct vm_area_struct *vma)
{
	struct iommufd_mmap *region = vma->vm_private_data;

	refcount_inc(&region->owner->users);
}

static void iommufd_vma_close(struct vm_area_struct *vma)
{
	struct iommufd_mmap *region = vma->vm_private_data;

	refcount_dec(&region->owner->users);
}

static const struct vm_operations_struct iommufd_vma_ops = {
	.open = iommufd_vma_open,
	.close = iommufd_vma_close,
};

/* Find what the vma asks for exactly, and hold its owner */
static struct iommufd_mmap *get_region(struct iommufd_ctx *ictx,
				       struct vm_area_struct *vma)
{
	unsigned long offset = vma->vm_pgoff << PAGE_SHIFT;
	struct iommufd_mmap *region;

	/* Under its lock the region stays, and so does its owner's memory */
	mtree_lock(&ictx->mt_mmap);
	region = mtree_load(&ictx->mt_mmap, offset);
	if (region &&
	    (region->offset != offset ||
	     region->length != vma->vm_end - vma->vm_start ||
	     xa_load(&ictx->objects, region->owner->id) != region->owner ||
	     !refcount_inc_not_zero(&region->owner->users)))
		region = NULL;
	mtree_unlock(&ictx->mt_mmap);
	return region;
}

int iommufd_fops_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct iommufd_ctx *ictx = filp->private_data;
	struct iommufd_mmap *region;
	int rc;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;

	region = get_region(ictx, vma);
	if (!region)
		return -ENXIO;

	/* mprotect() shall not do what mmap() does not */
	vm_flags_clear(vma, VM_MAYEXEC);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	rc = io_remap_pfn_range(vma, vma->vm_start, PHYS_PFN(region->phys),
				region->length, vma->vm_page_prot);
	if (rc) {
		refcount_dec(&region->owner->users);
		return rc;
	}

	vma->vm_private_data = region;
	vma->vm_ops = &iommufd_vma_ops;
	return 0;
}
