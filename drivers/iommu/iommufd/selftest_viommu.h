/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The mock IOMMU's vIOMMU: what selftest.c and selftest_viommu.c share.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#ifndef __IOMMUFD_SELFTEST_VIOMMU_H
#define __IOMMUFD_SELFTEST_VIOMMU_H

#include <linux/iommufd_viommu.h>
#include <linux/rwsem.h>

#include "iommufd_test.h"

struct mock_viommu;

/* The part of a mock device that vIOMMUs care about */
struct mock_viommu_dev {
	/* Protects the attachment: viommu and virt_id */
	struct rw_semaphore rwsem;
	struct mock_viommu *viommu;
	unsigned long virt_id;
	u32 cache[MOCK_DEV_CACHE_NUM];
};

/* selftest.c */
struct mock_viommu_dev *mock_dev_to_viommu_dev(struct device *dev);
struct iommu_domain *
mock_domain_alloc_nested(struct iommu_domain *parent,
			 struct mock_viommu *viommu,
			 const struct iommu_user_data *user_data);

/* selftest_viommu.c */
void mock_viommu_dev_init(struct mock_viommu_dev *vdev);
int mock_viommu_attach(struct mock_viommu *viommu, struct device *dev);
size_t mock_get_viommu_size(struct device *dev, u32 type);
int mock_viommu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		     const struct iommu_user_data *user_data);
int iommufd_test_dev_check_cache(struct iommufd_ucmd *ucmd,
				 struct iommu_test_cmd *cmd);
int iommufd_test_trigger_vevent(struct iommufd_ucmd *ucmd,
				struct iommu_test_cmd *cmd);

#endif
