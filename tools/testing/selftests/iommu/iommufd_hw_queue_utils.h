/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of HW queues, of mmap and of memfds share, on top of what the
 * tests of vIOMMUs have.
 *
 * All functions return 0 or more, or -errno.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#ifndef __SELFTEST_IOMMUFD_HW_QUEUE_UTILS
#define __SELFTEST_IOMMUFD_HW_QUEUE_UTILS

#include <sys/mman.h>

#include "iommufd_viommu_utils.h"

/* Where a test maps its memory: at the start of a huge page */
#define IOVA ((__u64)MOCK_APERTURE_START)

#define READ_ONLY IOMMU_IOAS_MAP_READABLE
#define WRITE_ONLY IOMMU_IOAS_MAP_WRITEABLE
#define READ_WRITE (READ_ONLY | WRITE_ONLY)

/* The size of huge pages, and half a page: what the mock IOMMU maps */
static unsigned long HUGE_SIZE, IO_PAGE_SIZE;

/* A number of /proc/meminfo; -1 if there is none of that name */
static long read_meminfo(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "r");
	size_t len = strlen(name);
	char line[128];
	long value = -1;

	if (!file)
		return -errno;
	while (value < 0 && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, len) && line[len] == ':')
			value = strtol(line + len + 1, NULL, 10);
	}
	fclose(file);
	return value;
}

static __attribute__((constructor)) void setup_sizes(void)
{
	HUGE_SIZE = read_meminfo("Hugepagesize") * 1024;
	IO_PAGE_SIZE = sysconf(_SC_PAGE_SIZE) / 2;
}

/* Huge pages that nobody has, nor has reserved */
static long huge_pages(void)
{
	return read_meminfo("HugePages_Free") - read_meminfo("HugePages_Rsvd");
}

static struct iommu_hw_queue_alloc queue_cmd(const struct rig *rig, __u32 index,
					     __u64 iova, __u64 length)
{
	return (struct iommu_hw_queue_alloc){
		.size = sizeof(struct iommu_hw_queue_alloc),
		.viommu_id = rig->viommu,
		.type = IOMMU_HW_QUEUE_TYPE_SELFTEST,
		.index = index,
		.nesting_parent_iova = iova,
		.length = length,
	};
}

static int queue_alloc(const struct rig *rig, __u32 index, __u64 iova,
		       __u64 length, __u32 *id)
{
	struct iommu_hw_queue_alloc cmd = queue_cmd(rig, index, iova, length);
	int rc = call(rig->fd, IOMMU_HW_QUEUE_ALLOC, &cmd);

	*id = cmd.out_hw_queue_id;
	return rc;
}

/* IOMMU_IOAS_MAP, of process memory */
static int map_memory(const struct rig *rig, __u64 iova, void *memory,
		      size_t length, __u32 prot)
{
	return _test_ioctl_ioas_map(rig->fd, rig->ioas, memory, length, &iova,
				    prot | IOMMU_IOAS_MAP_FIXED_IOVA) ?
		       -errno : 0;
}

static int unmap(const struct rig *rig, __u64 iova, __u64 length)
{
	return _test_ioctl_ioas_unmap(rig->fd, rig->ioas, iova, length, NULL) ?
		       -errno : 0;
}

static struct iommu_ioas_map_file map_file_cmd(const struct rig *rig, int fd,
					       __u64 start, __u64 length,
					       __u64 iova, __u32 prot)
{
	return (struct iommu_ioas_map_file){
		.size = sizeof(struct iommu_ioas_map_file),
		.flags = prot | IOMMU_IOAS_MAP_FIXED_IOVA,
		.ioas_id = rig->ioas,
		.fd = fd,
		.start = start,
		.length = length,
		.iova = iova,
	};
}

static int map_file(const struct rig *rig, int fd, __u64 start, __u64 length,
		    __u64 iova, __u32 prot)
{
	struct iommu_ioas_map_file cmd =
		map_file_cmd(rig, fd, start, length, iova, prot);

	return call(rig->fd, IOMMU_IOAS_MAP_FILE, &cmd);
}

/* A vIOMMU with a page to map, which has @value in it */
static int page_alloc(const struct rig *rig, __u32 value, __u32 *id,
		      __u64 *offset)
{
	struct iommu_viommu_selftest data = { .in_data = value };
	struct iommu_viommu_alloc cmd = viommu_cmd(rig);
	int rc;

	cmd.data_uptr = (uintptr_t)&data;
	cmd.data_len = sizeof(data);
	rc = call(rig->fd, IOMMU_VIOMMU_ALLOC, &cmd);
	*id = cmd.out_viommu_id;
	*offset = data.out_mmap_offset;
	return rc;
}

static int map_page(int fd, __u64 offset, size_t length, int prot, int flags,
		    void **page)
{
	*page = mmap(NULL, length, prot, flags, fd, offset);
	return *page == MAP_FAILED ? -errno : 0;
}

/* mmap() that should fail */
static int try_page(int fd, __u64 offset, size_t length, int prot, int flags)
{
	void *page;
	int rc = map_page(fd, offset, length, prot, flags, &page);

	if (!rc)
		munmap(page, length);
	return rc;
}

/* Memory of huge pages: each of them lies in one piece */
static void *huge_memory(size_t length)
{
	void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
				    MAP_POPULATE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* A file that lies in memory; @flags as for memfd_create() */
static int make_memfd(size_t length, unsigned int flags)
{
	int fd = memfd_create("iommufd", flags | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, length))
		return -errno;
	return fd;
}

#endif
