// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSIs of devices whose IOMMU translates them.
 *
 * Where MSIs pass the IOMMU, the page of the interrupt controller that devices
 * write to (an MSI page) needs an IOVA, in a window that the IOMMU driver
 * reserves (IOMMU_RESV_SW_MSI). The interrupt code stores that IOVA in the
 * device when a driver sets up the interrupt and never changes it, while user
 * space moves the device between page tables as it likes. Hence:
 *
 * - An iommufd context gives each MSI page one IOVA for good: ictx->sw_msi_list.
 * - A group remembers the MSI pages that its devices' interrupts use, and each
 *   page table that the group is attached to later gets them before.
 * - For a nested page table this is about its parent; the guest's stage 1 maps
 *   the window one to one, because the VMM tells it to.
 *
 * ictx->sw_msi_lock protects the list and both kinds of bitmaps. It nests
 * inside iommufd_group::lock and inside the mutex of the iommu_group.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <linux/iommu.h>
#include <linux/msi.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

#if IS_ENABLED(CONFIG_IRQ_MSI_IOMMU)
/* An MSI page in the window that starts at @window */
struct iommufd_sw_msi_page {
	struct list_head item;
	phys_addr_t window;
	phys_addr_t phys;
	/* Place in the window, in pages */
	unsigned int index;
	/* Number in struct iommufd_sw_msi_set */
	unsigned int id;
};

static unsigned long sw_msi_iova(const struct iommufd_sw_msi_page *page)
{
	return page->window + (unsigned long)page->index * PAGE_SIZE;
}

static struct iommufd_sw_msi_page *
sw_msi_get_page(struct iommufd_ctx *ictx, phys_addr_t window, phys_addr_t phys)
{
	struct iommufd_sw_msi_page *page;
	unsigned int index = 0;
	unsigned int id = 0;

	lockdep_assert_held(&ictx->sw_msi_lock);

	list_for_each_entry(page, &ictx->sw_msi_list, item) {
		if (page->window == window) {
			if (page->phys == phys)
				return page;
			index++;
		}
		id++;
	}
	if (id >= IOMMUFD_SW_MSI_PAGES)
		return ERR_PTR(-EOVERFLOW);

	page = kzalloc(sizeof(*page), GFP_KERNEL_ACCOUNT);
	if (!page)
		return ERR_PTR(-ENOMEM);
	page->window = window;
	page->phys = phys;
	page->index = index;
	page->id = id;
	list_add_tail(&page->item, &ictx->sw_msi_list);
	return page;
}

static int sw_msi_map(struct iommufd_ctx *ictx,
		      struct iommufd_hwpt_paging *hwpt_paging,
		      const struct iommufd_sw_msi_page *page)
{
	int rc;

	lockdep_assert_held(&ictx->sw_msi_lock);

	if (test_bit(page->id, hwpt_paging->sw_msi_present.pages))
		return 0;

	rc = iommu_map(hwpt_paging->common.domain, sw_msi_iova(page),
		       page->phys, PAGE_SIZE,
		       IOMMU_READ | IOMMU_WRITE | IOMMU_MMIO,
		       GFP_KERNEL_ACCOUNT);
	if (rc)
		return rc;
	__set_bit(page->id, hwpt_paging->sw_msi_present.pages);
	return 0;
}

/* iommu_domain::sw_msi. The group's mutex keeps the attachment in place. */
static int iommufd_sw_msi(struct iommu_domain *domain, struct msi_desc *desc,
			  phys_addr_t msi_addr)
{
	struct device *dev = msi_desc_to_dev(desc);
	struct iommufd_hwpt_paging *hwpt_paging;
	struct iommufd_sw_msi_page *page;
	struct iommu_attach_handle *handle;
	struct iommufd_group *igroup;
	struct iommufd_ctx *ictx;
	int rc;

	iommu_group_mutex_assert(dev);

	handle = iommu_attach_handle_get(dev->iommu_group, IOMMU_NO_PASID, 0);
	if (IS_ERR(handle))
		return 0;
	igroup = to_iommufd_handle(handle)->igroup;
	hwpt_paging = find_hwpt_paging(domain->iommufd_hwpt);
	if (!hwpt_paging || igroup->sw_msi_start == PHYS_ADDR_MAX)
		return 0;

	ictx = igroup->ictx;
	guard(mutex)(&ictx->sw_msi_lock);
	page = sw_msi_get_page(ictx, igroup->sw_msi_start,
			       msi_addr & PAGE_MASK);
	if (IS_ERR(page))
		return PTR_ERR(page);
	rc = sw_msi_map(ictx, hwpt_paging, page);
	if (rc)
		return rc;
	__set_bit(page->id, igroup->sw_msi_required.pages);

	msi_desc_set_iommu_msi_iova(desc, sw_msi_iova(page), PAGE_SHIFT);
	return 0;
}
#endif

/* Make iommufd the one who maps MSI pages in this page table's domain */
void iommufd_sw_msi_claim(struct iommufd_hw_pagetable *hwpt)
{
	hwpt->domain->iommufd_hwpt = hwpt;
#if IS_ENABLED(CONFIG_IRQ_MSI_IOMMU)
	iommu_domain_set_sw_msi(hwpt->domain, iommufd_sw_msi);
#endif
}

/**
 * iommufd_sw_msi_install() - Map the MSI pages that a group uses already
 * @igroup: group that is about to be attached to @hwpt_paging, or to a nested
 *          page table on it
 * @hwpt_paging: page table
 *
 * Context: may sleep; iommufd_group::lock is held.
 * Return: 0, or what iommu_map() says. Pages that were mapped stay mapped then.
 */
int iommufd_sw_msi_install(struct iommufd_group *igroup,
			   struct iommufd_hwpt_paging *hwpt_paging)
{
#if IS_ENABLED(CONFIG_IRQ_MSI_IOMMU)
	struct iommufd_ctx *ictx = igroup->ictx;
	struct iommufd_sw_msi_page *page;
	int rc;

	lockdep_assert_held(&igroup->lock);

	if (igroup->sw_msi_start == PHYS_ADDR_MAX)
		return 0;

	guard(mutex)(&ictx->sw_msi_lock);
	list_for_each_entry(page, &ictx->sw_msi_list, item) {
		if (page->window != igroup->sw_msi_start ||
		    !test_bit(page->id, igroup->sw_msi_required.pages))
			continue;
		rc = sw_msi_map(ictx, hwpt_paging, page);
		if (rc)
			return rc;
	}
#endif
	return 0;
}

void iommufd_sw_msi_init(struct iommufd_ctx *ictx)
{
	mutex_init(&ictx->sw_msi_lock);
	INIT_LIST_HEAD(&ictx->sw_msi_list);
}

void iommufd_sw_msi_release(struct iommufd_ctx *ictx)
{
#if IS_ENABLED(CONFIG_IRQ_MSI_IOMMU)
	struct iommufd_sw_msi_page *page, *next;

	list_for_each_entry_safe(page, next, &ictx->sw_msi_list, item)
		kfree(page);
#endif
	mutex_destroy(&ictx->sw_msi_lock);
}
