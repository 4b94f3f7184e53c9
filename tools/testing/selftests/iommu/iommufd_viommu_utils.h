/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of vIOMMUs share: a set of objects on the mock IOMMU, a valid
 * command for each ioctl, which a test then spoils in one place, and what tells
 * that the kernel has lost or kept something.
 *
 * All functions return 0 or more, or -errno.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#ifndef __SELFTEST_IOMMUFD_VIOMMU_UTILS
#define __SELFTEST_IOMMUFD_VIOMMU_UTILS

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "iommufd_utils.h"

#define VIRT_ID 0x99

/* What refused() returns if a command that failed left something behind */
#define LEAKED 1

/* rig_open() makes what comes before vdevice, rig_nest() the rest */
struct rig {
	int fd;
	__u32 ioas;
	__u32 stdev;
	__u32 device;
	__u32 parent;
	__u32 viommu;
	__u32 vdevice;
	__u32 nested;
	__u32 veventq;
	int event_fd;
	/* From before */
	int mock_devices;
	long tainted;
};

struct event {
	struct iommufd_vevent_header header;
	struct iommu_viommu_event_selftest data;
};

static const struct iommu_hwpt_selftest nested_data = {
	.iotlb = IOMMU_TEST_IOTLB_DEFAULT,
};

static __attribute__((constructor)) void setup_page_size(void)
{
	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
}

static int call(int fd, unsigned long request, void *cmd)
{
	return ioctl(fd, request, cmd) ? -errno : 0;
}

static int destroy(int fd, __u32 id)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };

	return call(fd, IOMMU_DESTROY, &cmd);
}

static struct iommu_viommu_alloc viommu_cmd(const struct rig *rig)
{
	return (struct iommu_viommu_alloc){
		.size = sizeof(struct iommu_viommu_alloc),
		.type = IOMMU_VIOMMU_TYPE_SELFTEST,
		.dev_id = rig->device,
		.hwpt_id = rig->parent,
	};
}

static struct iommu_vdevice_alloc vdevice_cmd(const struct rig *rig)
{
	return (struct iommu_vdevice_alloc){
		.size = sizeof(struct iommu_vdevice_alloc),
		.viommu_id = rig->viommu,
		.dev_id = rig->device,
		.virt_id = VIRT_ID,
	};
}

static struct iommu_hwpt_alloc nested_cmd(const struct rig *rig)
{
	return (struct iommu_hwpt_alloc){
		.size = sizeof(struct iommu_hwpt_alloc),
		.dev_id = rig->device,
		.pt_id = rig->viommu,
		.data_type = IOMMU_HWPT_DATA_SELFTEST,
		.data_len = sizeof(nested_data),
		.data_uptr = (uintptr_t)&nested_data,
	};
}

static struct iommu_veventq_alloc veventq_cmd(const struct rig *rig, __u32 depth)
{
	return (struct iommu_veventq_alloc){
		.size = sizeof(struct iommu_veventq_alloc),
		.viommu_id = rig->viommu,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = depth,
	};
}

static struct iommu_hw_info hw_info_cmd(const struct rig *rig)
{
	return (struct iommu_hw_info){
		.size = sizeof(struct iommu_hw_info),
		.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE,
		.dev_id = rig->device,
		.in_data_type = IOMMU_HW_INFO_TYPE_SELFTEST,
	};
}

static struct iommu_hwpt_invalidate
invalidate_cmd(const struct rig *rig,
	       const struct iommu_viommu_invalidate_selftest *entries, __u32 num)
{
	return (struct iommu_hwpt_invalidate){
		.size = sizeof(struct iommu_hwpt_invalidate),
		.hwpt_id = rig->viommu,
		.data_uptr = (uintptr_t)entries,
		.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
		.entry_len = sizeof(*entries),
		.entry_num = num,
	};
}

static int viommu_alloc(const struct rig *rig, __u32 *id)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(rig);
	int rc = call(rig->fd, IOMMU_VIOMMU_ALLOC, &cmd);

	*id = cmd.out_viommu_id;
	return rc;
}

static int vdevice_alloc(const struct rig *rig, __u64 virt_id, __u32 *id)
{
	struct iommu_vdevice_alloc cmd = vdevice_cmd(rig);
	int rc;

	cmd.virt_id = virt_id;
	rc = call(rig->fd, IOMMU_VDEVICE_ALLOC, &cmd);
	*id = cmd.out_vdevice_id;
	return rc;
}

static int nested_alloc(const struct rig *rig, __u32 *id)
{
	struct iommu_hwpt_alloc cmd = nested_cmd(rig);
	int rc = call(rig->fd, IOMMU_HWPT_ALLOC, &cmd);

	*id = cmd.out_hwpt_id;
	return rc;
}

static int veventq_alloc(const struct rig *rig, __u32 depth, __u32 *id, int *fd)
{
	struct iommu_veventq_alloc cmd = veventq_cmd(rig, depth);
	int rc = call(rig->fd, IOMMU_VEVENTQ_ALLOC, &cmd);

	*id = cmd.out_veventq_id;
	*fd = cmd.out_veventq_fd;
	return rc;
}

static int mock_device(const struct rig *rig, __u32 *stdev, __u32 *device)
{
	return _test_cmd_mock_domain(rig->fd, rig->ioas, stdev, NULL, device) ?
		       -errno : 0;
}

static int attach(const struct rig *rig, __u32 pt)
{
	return _test_cmd_mock_domain_replace(rig->fd, rig->stdev, pt, NULL) ?
		       -errno : 0;
}

/* The device has an event for its vIOMMU */
static int trigger(const struct rig *rig)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_TRIGGER_VEVENT,
		.trigger_vevent = { .dev_id = rig->device },
	};

	return call(rig->fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_TRIGGER_VEVENT),
		    &cmd);
}

static long read_number(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtol(text, NULL, 10);
}

/* A WARN sets a bit, though only the first one shows */
static long kernel_tainted(void)
{
	return read_number("/proc/sys/kernel/tainted");
}

/* They go with the last file of their context, if nothing was leaked */
static int mock_devices(void)
{
	DIR *dir = opendir("/sys/bus/iommufd_mock/devices");
	struct dirent *entry;
	int num = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		num += entry->d_name[0] != '.';
	closedir(dir);
	return num;
}

/* The lowest one that is free: it shows whether one was leaked */
static int next_id(int fd)
{
	__u32 id;

	if (_test_ioctl_ioas_alloc(fd, &id) || destroy(fd, id))
		return -errno;
	return id;
}

static int next_fd(int fd)
{
	int next = dup(fd);

	close(next);
	return next;
}

/* A command that should fail, and leave nothing behind */
static int refused(int fd, unsigned long request, void *cmd)
{
	int id = next_id(fd);
	int file = next_fd(fd);
	int rc = call(fd, request, cmd);

	return id == next_id(fd) && file == next_fd(fd) ? rc : LEAKED;
}

/* In a test whose fixture has a rig */
#define EXPECT_REFUSED(_errno, _request, _cmd) \
	EXPECT_EQ(-(_errno), refused(self->rig.fd, _request, _cmd))

/* Two pages, of which only the first one can be accessed */
static void *two_pages(void)
{
	void *pages = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(pages != MAP_FAILED);
	assert(!mprotect(pages + PAGE_SIZE, PAGE_SIZE, PROT_NONE));
	return pages;
}

static int rig_open(struct rig *rig)
{
	int rc;

	*rig = (struct rig){
		.event_fd = -1,
		.mock_devices = mock_devices(),
		.tainted = kernel_tainted(),
	};
	rig->fd = open("/dev/iommu", O_RDWR);
	if (rig->fd < 0 || _test_ioctl_ioas_alloc(rig->fd, &rig->ioas))
		return -errno;
	rc = mock_device(rig, &rig->stdev, &rig->device);
	if (rc)
		return rc;
	if (_test_cmd_hwpt_alloc(rig->fd, rig->device, rig->ioas, 0,
				 IOMMU_HWPT_ALLOC_NEST_PARENT, &rig->parent,
				 IOMMU_HWPT_DATA_NONE, NULL, 0))
		return -errno;
	return viommu_alloc(rig, &rig->viommu);
}

/* All that can be on a vIOMMU, with the device attached to it */
static int rig_nest(struct rig *rig, __u32 depth)
{
	int rc = vdevice_alloc(rig, VIRT_ID, &rig->vdevice);

	if (!rc)
		rc = nested_alloc(rig, &rig->nested);
	if (!rc)
		rc = attach(rig, rig->nested);
	if (!rc)
		rc = veventq_alloc(rig, depth, &rig->veventq, &rig->event_fd);
	return rc;
}

static void rig_close(struct rig *rig)
{
	if (rig->event_fd >= 0)
		close(rig->event_fd);
	if (rig->fd >= 0)
		close(rig->fd);
	rig->event_fd = -1;
	rig->fd = -1;
}

static void check_gone(struct __test_metadata *_metadata,
		       const struct rig *rig)
{
	int fd;

	/* Also what a test has left open */
	for (fd = STDERR_FILENO + 1; fd < 64; fd++)
		close(fd);
	EXPECT_EQ(rig->mock_devices, mock_devices());
	EXPECT_EQ(rig->tainted, kernel_tainted());
}

#endif
