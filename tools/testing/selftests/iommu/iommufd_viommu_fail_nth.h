/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests share in which one allocation after the other fails.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#ifndef __SELFTEST_IOMMUFD_VIOMMU_FAIL_NTH
#define __SELFTEST_IOMMUFD_VIOMMU_FAIL_NTH

#include "iommufd_viommu_utils.h"

static void set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);

	if (fd >= 0 && write(fd, value, strlen(value)) < 0)
		perror(path);
	close(fd);
}

/* All allocations may fail, and each failure is no news */
static __attribute__((constructor)) void setup_fault_injection(void)
{
	set("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	set("/sys/kernel/debug/failslab/verbose", "0");
	set("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
	set("/sys/kernel/debug/fail_page_alloc/verbose", "0");
	set("/sys/kernel/debug/fail_usercopy/verbose", "0");
	set("/sys/kernel/debug/fail_iommufd/verbose", "0");
}

/* The n-th chance to fail from now on will */
static void arm(int fail_fd, int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	assert(pwrite(fail_fd, text, len, 0) == len);
}

/* Returns whether there was a failure since arm() */
static bool disarm(int fail_fd)
{
	char left = '1';

	/* These may be what fails, by EFAULT */
	if (pread(fail_fd, &left, 1, 0) != 1)
		left = '1';
	while (pwrite(fail_fd, "0", 1, 0) != 1)
		;
	return left == '0';
}

#endif
