// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of HW queues, of the mmap of a vIOMMU's registers and of
 * IOMMU_IOAS_MAP_FILE, on the mock IOMMU: all that user space can see.
 *
 * Each test starts with a context of its own. At its end the context must go,
 * with all mock devices and huge pages and without a warning of the kernel.
 *
 * Out of reach: a part of a mapping of registers, since the mock IOMMU has one
 * page of them.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "iommufd_hw_queue_utils.h"

#define NO_ID 0x7ffffff0
#define ROUNDS 100
#define VALUE 0x600d

static long free_huge_pages;

static int open_rig(struct rig *rig)
{
	free_huge_pages = huge_pages();
	return rig_open(rig);
}

/* What a test has left mapped: registers, files and huge pages */
static void unmap_all(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	char line[256];

	while (maps && fgets(line, sizeof(line), maps)) {
		if ((strstr(line, "/dev/iommu") || strstr(line, "/memfd:") ||
		     strstr(line, "hugepage")) &&
		    sscanf(line, "%lx-%lx", &start, &end) == 2)
			munmap((void *)start, end - start);
	}
	if (maps)
		fclose(maps);
}

static void check_all_gone(struct __test_metadata *_metadata,
			   const struct rig *rig)
{
	unmap_all();
	check_gone(_metadata, rig);
	EXPECT_EQ(free_huge_pages, huge_pages());
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Wait for a child; 0 if it says that all is well */
static int child_rc(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* A child process that does nothing until child_end() */
struct child {
	pid_t pid;
	int pipe[2];
};

static int child_start(struct child *child)
{
	char byte;

	if (pipe(child->pipe))
		return -errno;
	child->pid = fork();
	if (!child->pid) {
		close(child->pipe[1]);
		_exit(read(child->pipe[0], &byte, 1) ? 1 : 0);
	}
	close(child->pipe[0]);
	return child->pid < 0 ? -errno : 0;
}

static int child_end(struct child *child)
{
	close(child->pipe[1]);
	return child_rc(child->pid);
}

/* A second IOAS, which has a device of its own */
static int second_ioas(const struct rig *rig, struct rig *second)
{
	*second = *rig;
	if (_test_ioctl_ioas_alloc(rig->fd, &second->ioas))
		return -errno;
	if (_test_cmd_mock_domain(rig->fd, second->ioas, &second->stdev,
				  &second->parent, &second->device))
		return -errno;
	return 0;
}

static int copy(const struct rig *from, const struct rig *to, __u64 iova,
		__u64 length, __u32 prot)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = prot | IOMMU_IOAS_MAP_FIXED_IOVA,
		.dst_ioas_id = to->ioas,
		.src_ioas_id = from->ioas,
		.length = length,
		.dst_iova = iova,
		.src_iova = iova,
	};

	return call(from->fd, IOMMU_IOAS_COPY, &cmd);
}

/* Whether devices find there what the process has at @memory */
static int check_map(const struct rig *rig, __u64 iova, void *memory,
		     size_t length)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MD_CHECK_MAP,
		.id = rig->parent,
		.check_map = {
			.iova = iova,
			.length = length,
			.uptr = (uintptr_t)memory,
		},
	};

	return call(rig->fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_MD_CHECK_MAP), &cmd);
}

/*
 * The argument of each ioctl: its length, and where it lies.
 */

static void make_queue(const struct rig *rig, void *cmd)
{
	*(struct iommu_hw_queue_alloc *)cmd =
		queue_cmd(rig, 0, IOVA, PAGE_SIZE);
}

static void make_file(const struct rig *rig, void *cmd)
{
	*(struct iommu_ioas_map_file *)cmd =
		map_file_cmd(rig, make_memfd(PAGE_SIZE, 0), 0, PAGE_SIZE,
			     IOVA + PAGE_SIZE, READ_WRITE);
}

static int open_argument(struct rig *rig, void *cmd)
{
	int rc = open_rig(rig);

	return rc ?: map_memory(rig, IOVA, cmd, PAGE_SIZE, READ_WRITE);
}

static void close_argument(struct __test_metadata *_metadata,
			   const struct rig *rig)
{
	check_all_gone(_metadata, rig);
}

#include "iommufd_viommu_argument.h"

FIXTURE_VARIANT_ADD(argument, hw_queue_alloc)
{
	.request = IOMMU_HW_QUEUE_ALLOC,
	.make = make_queue,
	.size = 40,
	.min = 40,
	.enough = 40,
};

FIXTURE_VARIANT_ADD(argument, ioas_map_file)
{
	.request = IOMMU_IOAS_MAP_FILE,
	.make = make_file,
	.size = 40,
	.min = 40,
	.enough = 40,
};

/*
 * IOMMU_HW_QUEUE_ALLOC, on a huge page. Its first pages are mapped one by one
 * at IOVA, all of it once more at WHOLE.
 */

#define PAGES 8
#define WHOLE (IOVA + 16 * HUGE_SIZE)
/* Where nothing is mapped */
#define FREE (IOVA + 32 * HUGE_SIZE)

FIXTURE(queue)
{
	struct rig rig;
	void *memory;
};

FIXTURE_SETUP(queue)
{
	int i;

	ASSERT_EQ(0, open_rig(&self->rig));
	self->memory = huge_memory(HUGE_SIZE);
	ASSERT_NE(NULL, self->memory)
		TH_LOG("there are no huge pages");
	for (i = 0; i < PAGES; i++) {
		ASSERT_EQ(0, map_memory(&self->rig, IOVA + i * PAGE_SIZE,
					self->memory + i * PAGE_SIZE, PAGE_SIZE,
					READ_WRITE));
	}
	ASSERT_EQ(0, map_memory(&self->rig, WHOLE, self->memory, HUGE_SIZE,
				READ_WRITE));
}

FIXTURE_TEARDOWN(queue)
{
	check_all_gone(_metadata, &self->rig);
}

#define EXPECT_NO_QUEUE(_errno, _index, _iova, _length)                       \
	do {                                                                  \
		struct iommu_hw_queue_alloc _cmd =                            \
			queue_cmd(&self->rig, _index, _iova, _length);        \
		EXPECT_REFUSED(_errno, IOMMU_HW_QUEUE_ALLOC, &_cmd);          \
	} while (0)

/* Nothing is locked in memory */
#define EXPECT_ALL_UNMAPS() EXPECT_EQ(0, unmap(&self->rig, 0, ~0UL))

TEST_F(queue, alloc_0_then_1)
{
	__u32 first, second;

	EXPECT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &first));
	EXPECT_EQ(0, queue_alloc(&self->rig, 1, IOVA + PAGE_SIZE, PAGE_SIZE,
				 &second));
	EXPECT_NE(0, first);
	EXPECT_LT(first, second);
}

TEST_F(queue, alloc_flags_EOPNOTSUPP)
{
	struct iommu_hw_queue_alloc cmd =
		queue_cmd(&self->rig, 0, IOVA, PAGE_SIZE);

	for (cmd.flags = 1; cmd.flags; cmd.flags <<= 1)
		EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HW_QUEUE_ALLOC, &cmd);
}

TEST_F(queue, alloc_default_type_EOPNOTSUPP)
{
	struct iommu_hw_queue_alloc cmd =
		queue_cmd(&self->rig, 0, IOVA, PAGE_SIZE);

	cmd.type = IOMMU_HW_QUEUE_TYPE_DEFAULT;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HW_QUEUE_ALLOC, &cmd);
}

TEST_F(queue, alloc_type_of_another_iommu_EOPNOTSUPP)
{
	struct iommu_hw_queue_alloc cmd =
		queue_cmd(&self->rig, 0, IOVA, PAGE_SIZE);

	cmd.type = 1;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.type = ~0;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HW_QUEUE_ALLOC, &cmd);
}

TEST_F(queue, alloc_length_0_EINVAL)
{
	EXPECT_NO_QUEUE(EINVAL, 0, IOVA, 0);
	EXPECT_NO_QUEUE(EINVAL, 0, 0, 0);
}

TEST_F(queue, alloc_end_beyond_all_addresses_EOVERFLOW)
{
	EXPECT_NO_QUEUE(EOVERFLOW, 0, ~0UL, 2);
	EXPECT_NO_QUEUE(EOVERFLOW, 0, 2, ~0UL);
	EXPECT_NO_QUEUE(EOVERFLOW, 0, IOVA, ~0UL);
	EXPECT_NO_QUEUE(EOVERFLOW, 0, -PAGE_SIZE, PAGE_SIZE + 1);
}

TEST_F(queue, alloc_at_the_last_addresses_ENOENT)
{
	EXPECT_NO_QUEUE(ENOENT, 0, ~0UL, 1);
	EXPECT_NO_QUEUE(ENOENT, 0, -PAGE_SIZE, PAGE_SIZE);
	EXPECT_NO_QUEUE(ENOENT, 0, -(1UL << 26), 1UL << 26);
}

TEST_F(queue, alloc_unknown_viommu_ENOENT)
{
	struct iommu_hw_queue_alloc cmd =
		queue_cmd(&self->rig, 0, IOVA, PAGE_SIZE);

	cmd.viommu_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.viommu_id = self->rig.parent;
	EXPECT_REFUSED(ENOENT, IOMMU_HW_QUEUE_ALLOC, &cmd);
}

TEST_F(queue, alloc_memory_not_mapped_ENOENT)
{
	EXPECT_NO_QUEUE(ENOENT, 0, 0, PAGE_SIZE);
	EXPECT_NO_QUEUE(ENOENT, 0, FREE, PAGE_SIZE);
	EXPECT_NO_QUEUE(ENOENT, 0, FREE, 8 * HUGE_SIZE);
}

TEST_F(queue, alloc_memory_partly_mapped_ENOENT)
{
	/* The end, the start, and what lies between */
	EXPECT_NO_QUEUE(ENOENT, 0, IOVA, (PAGES + 1) * PAGE_SIZE);
	EXPECT_NO_QUEUE(ENOENT, 0, IOVA - PAGE_SIZE, 2 * PAGE_SIZE);
	EXPECT_NO_QUEUE(ENOENT, 0, IOVA + PAGES * PAGE_SIZE - 1, 2);
	ASSERT_EQ(0, unmap(&self->rig, IOVA + PAGE_SIZE, PAGE_SIZE));
	EXPECT_NO_QUEUE(ENOENT, 0, IOVA, 3 * PAGE_SIZE);
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_second_block_not_mapped_ENOENT)
{
	EXPECT_NO_QUEUE(ENOENT, 0, WHOLE, HUGE_SIZE + 1);
	EXPECT_NO_QUEUE(ENOENT, 0, WHOLE, 4 * HUGE_SIZE);
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_memory_that_devices_can_not_read_EPERM)
{
	ASSERT_EQ(0, map_memory(&self->rig, FREE, self->memory, PAGE_SIZE,
				WRITE_ONLY));
	EXPECT_NO_QUEUE(EPERM, 0, FREE, PAGE_SIZE);
	/* Also where it comes after what they can read */
	ASSERT_EQ(0, map_memory(&self->rig, IOVA + PAGES * PAGE_SIZE,
				self->memory + PAGES * PAGE_SIZE, PAGE_SIZE,
				WRITE_ONLY));
	EXPECT_NO_QUEUE(EPERM, 0, IOVA, (PAGES + 1) * PAGE_SIZE);
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_memory_that_devices_can_not_write)
{
	__u32 id;

	ASSERT_EQ(0, map_memory(&self->rig, FREE, self->memory, PAGE_SIZE,
				READ_ONLY));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, FREE, PAGE_SIZE, &id));
}

TEST_F(queue, alloc_same_page_twice_EFAULT)
{
	ASSERT_EQ(0, map_memory(&self->rig, FREE, self->memory, PAGE_SIZE,
				READ_WRITE));
	ASSERT_EQ(0, map_memory(&self->rig, FREE + PAGE_SIZE, self->memory,
				PAGE_SIZE, READ_WRITE));
	EXPECT_NO_QUEUE(EFAULT, 0, FREE, 2 * PAGE_SIZE);
	EXPECT_NO_QUEUE(EFAULT, 0, FREE + PAGE_SIZE - 1, 2);
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_pages_in_reverse_EFAULT)
{
	int i;

	for (i = 0; i < PAGES; i++) {
		ASSERT_EQ(0, map_memory(&self->rig, FREE + i * PAGE_SIZE,
					self->memory +
						(PAGES - 1 - i) * PAGE_SIZE,
					PAGE_SIZE, READ_WRITE));
	}
	EXPECT_NO_QUEUE(EFAULT, 0, FREE, 2 * PAGE_SIZE);
	EXPECT_NO_QUEUE(EFAULT, 0, FREE, PAGES * PAGE_SIZE);
	EXPECT_ALL_UNMAPS();
}

/* Any two pages, were it not for those between them */
TEST_F(queue, alloc_with_a_page_left_out_EFAULT)
{
	ASSERT_EQ(0, map_memory(&self->rig, FREE, self->memory, PAGE_SIZE,
				READ_WRITE));
	ASSERT_EQ(0, map_memory(&self->rig, FREE + PAGE_SIZE,
				self->memory + 2 * PAGE_SIZE, PAGE_SIZE,
				READ_WRITE));
	EXPECT_NO_QUEUE(EFAULT, 0, FREE, 2 * PAGE_SIZE);
}

TEST_F(queue, alloc_last_page_elsewhere_EFAULT)
{
	__u64 end = FREE + HUGE_SIZE - PAGE_SIZE;

	ASSERT_EQ(0, map_memory(&self->rig, FREE, self->memory,
				HUGE_SIZE - PAGE_SIZE, READ_WRITE));
	ASSERT_EQ(0, map_memory(&self->rig, end, self->memory, PAGE_SIZE,
				READ_WRITE));
	EXPECT_NO_QUEUE(EFAULT, 0, FREE, HUGE_SIZE);
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_second_block_elsewhere_EFAULT)
{
	/* It starts where the first one does */
	ASSERT_EQ(0, map_memory(&self->rig, FREE, self->memory, HUGE_SIZE,
				READ_WRITE));
	ASSERT_EQ(0, map_memory(&self->rig, FREE + HUGE_SIZE, self->memory,
				HUGE_SIZE, READ_WRITE));
	EXPECT_NO_QUEUE(EFAULT, 0, FREE, 2 * HUGE_SIZE);
	EXPECT_NO_QUEUE(EFAULT, 0, FREE + HUGE_SIZE - 1, 2);
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_areas_that_join_within_a_page_EINVAL)
{
	ASSERT_EQ(0, map_memory(&self->rig, FREE, self->memory + IO_PAGE_SIZE,
				PAGE_SIZE, READ_WRITE));
	EXPECT_NO_QUEUE(EINVAL, 0, FREE, PAGE_SIZE);
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_index_that_is_none_EINVAL)
{
	__u32 id;

	EXPECT_NO_QUEUE(EINVAL, IOMMU_TEST_HW_QUEUE_MAX, IOVA, PAGE_SIZE);
	EXPECT_NO_QUEUE(EINVAL, ~0, IOVA, PAGE_SIZE);
	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &id));
	ASSERT_EQ(0, queue_alloc(&self->rig, 1, IOVA, PAGE_SIZE, &id));
	EXPECT_NO_QUEUE(EINVAL, IOMMU_TEST_HW_QUEUE_MAX, IOVA, PAGE_SIZE);
}

TEST_F(queue, alloc_used_index_EEXIST)
{
	__u32 first, second;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &first));
	EXPECT_NO_QUEUE(EEXIST, 0, IOVA, PAGE_SIZE);
	ASSERT_EQ(0, queue_alloc(&self->rig, 1, IOVA, PAGE_SIZE, &second));
	EXPECT_NO_QUEUE(EEXIST, 0, IOVA, PAGE_SIZE);
	EXPECT_NO_QUEUE(EEXIST, 1, IOVA, PAGE_SIZE);
	EXPECT_EQ(0, destroy(self->rig.fd, second));
	EXPECT_EQ(0, destroy(self->rig.fd, first));
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_1_before_0_EIO)
{
	__u32 id;

	EXPECT_NO_QUEUE(EIO, 1, IOVA, PAGE_SIZE);
	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &id));
	ASSERT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_NO_QUEUE(EIO, 1, IOVA, PAGE_SIZE);
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_checks_in_the_order_of_the_uapi)
{
	struct iommu_hw_queue_alloc cmd = {
		.size = sizeof(cmd),
		.flags = 1,
		.viommu_id = NO_ID,
		.type = 12345,
		.index = IOMMU_TEST_HW_QUEUE_MAX,
		.nesting_parent_iova = ~0UL,
	};

	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.flags = 0;
	EXPECT_REFUSED(EINVAL, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.length = PAGE_SIZE;
	EXPECT_REFUSED(EOVERFLOW, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.nesting_parent_iova = FREE;
	EXPECT_REFUSED(ENOENT, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.viommu_id = self->rig.viommu;
	EXPECT_REFUSED(EOPNOTSUPP, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.type = IOMMU_HW_QUEUE_TYPE_SELFTEST;
	EXPECT_REFUSED(ENOENT, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.nesting_parent_iova = IOVA;
	EXPECT_REFUSED(EINVAL, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.index = 1;
	EXPECT_REFUSED(EIO, IOMMU_HW_QUEUE_ALLOC, &cmd);
	cmd.index = 0;
	EXPECT_EQ(0, call(self->rig.fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	EXPECT_REFUSED(EEXIST, IOMMU_HW_QUEUE_ALLOC, &cmd);
}

/* Without memory for the answer nothing is made that queue 1 could go by */
TEST_F(queue, alloc_read_only_argument_leaves_no_queue)
{
	struct iommu_hw_queue_alloc *cmd;
	__u32 id;

	cmd = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmd);
	*cmd = queue_cmd(&self->rig, 0, IOVA, PAGE_SIZE);
	ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ));
	EXPECT_REFUSED(EFAULT, IOMMU_HW_QUEUE_ALLOC, cmd);
	EXPECT_NO_QUEUE(EIO, 1, IOVA, PAGE_SIZE);
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &id));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_absurd_length_fails_at_once)
{
	double since = seconds();
	int shift;

	for (shift = 22; shift < 64; shift++)
		EXPECT_NO_QUEUE(shift <= 26 ? ENOENT : EINVAL, 0, WHOLE,
				1UL << shift);
	EXPECT_NO_QUEUE(EINVAL, 0, WHOLE, (1UL << 26) + 1);
	EXPECT_NO_QUEUE(EINVAL, 0, WHOLE, ~WHOLE);
	EXPECT_NO_QUEUE(EINVAL, 0, 1, ~0UL);
	EXPECT_NO_QUEUE(EINVAL, 0, 0, ~0UL);
	EXPECT_NO_QUEUE(EOVERFLOW, 0, WHOLE, ~0UL);
	EXPECT_GT(5, seconds() - since);
	EXPECT_ALL_UNMAPS();
}

/* A guest writes an address in two halves, and each of them is tried */
TEST_F_TIMEOUT(queue, alloc_after_10000_that_fail, 120)
{
	struct iommu_hw_queue_alloc cmd;
	int next = next_id(self->rig.fd);
	__u32 id;
	int i;

	for (i = 0; i < 10000; i++) {
		cmd = queue_cmd(&self->rig, i % 4, IOVA, PAGE_SIZE);
		if (i % 4 == 0)
			cmd.nesting_parent_iova += (i + 4) * HUGE_SIZE * 16;
		ASSERT_GT(0, call(self->rig.fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	}
	EXPECT_EQ(next, next_id(self->rig.fd));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &id));
	EXPECT_EQ(next, id);
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, alloc_again_and_again)
{
	__u32 first, second;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE,
					 &first));
		ASSERT_EQ(0, queue_alloc(&self->rig, 1, WHOLE, HUGE_SIZE,
					 &second));
		ASSERT_EQ(0, destroy(self->rig.fd, second));
		ASSERT_EQ(-ENOENT, destroy(self->rig.fd, second));
		ASSERT_EQ(0, destroy(self->rig.fd, first));
	}
	EXPECT_ALL_UNMAPS();
}

/*
 * Where a queue may lie. The mock IOMMU compares the address that it gets with
 * what its page table says.
 */

TEST_F(queue, lies_anywhere_in_a_page)
{
	__u64 offset;
	__u32 id;

	for (offset = 0; offset < PAGE_SIZE; offset += PAGE_SIZE / 8) {
		EXPECT_EQ(0, queue_alloc(&self->rig, 0, IOVA + offset, 32,
					 &id));
		EXPECT_EQ(0, destroy(self->rig.fd, id));
	}
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, IOVA + PAGE_SIZE - 1, 1, &id));
}

TEST_F(queue, lies_across_areas)
{
	__u32 id;

	EXPECT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGES * PAGE_SIZE, &id));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, IOVA + PAGE_SIZE - 1, 2, &id));
	/* It has both pages */
	EXPECT_EQ(-EBUSY, unmap(&self->rig, IOVA, PAGE_SIZE));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, IOVA + PAGE_SIZE, PAGE_SIZE));
	EXPECT_EQ(0, unmap(&self->rig, IOVA + 2 * PAGE_SIZE, PAGE_SIZE));
}

TEST_F(queue, lies_in_part_of_an_area)
{
	__u32 id;

	EXPECT_EQ(0, queue_alloc(&self->rig, 0, WHOLE + 3 * PAGE_SIZE + 32,
				 5 * PAGE_SIZE, &id));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, WHOLE, HUGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, lies_in_all_of_a_huge_page)
{
	__u32 id;

	EXPECT_EQ(0, queue_alloc(&self->rig, 0, WHOLE, HUGE_SIZE, &id));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_ALL_UNMAPS();
}

/* It is pinned in blocks that end where a huge page would */
TEST_F(queue, lies_across_two_blocks)
{
	__u64 iova = FREE + HUGE_SIZE / 2;
	__u32 id;

	ASSERT_EQ(0, map_memory(&self->rig, iova, self->memory, HUGE_SIZE,
				READ_WRITE));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, iova, HUGE_SIZE, &id));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, iova, HUGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, iova + PAGE_SIZE / 2,
				 HUGE_SIZE - PAGE_SIZE, &id));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, FREE + HUGE_SIZE - 1, 2, &id));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_ALL_UNMAPS();
}

/* So many huge pages that some of them lie side by side */
#define MANY 32
#define RUN 4

static __u64 page_frame(const void *memory)
{
	__u64 entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, sizeof(entry),
			    (uintptr_t)memory / PAGE_SIZE * 8) != sizeof(entry))
		entry = 0;
	close(fd);
	return entry & ((1UL << 55) - 1);
}

/* The one of MANY huge pages that is at @frame in the host */
static void *find_page(void *memory, __u64 frame)
{
	int i;

	for (i = 0; i < MANY; i++) {
		if (page_frame(memory + i * HUGE_SIZE) == frame)
			return memory + i * HUGE_SIZE;
	}
	return NULL;
}

/* Map huge pages that lie side by side in the host; returns how many */
static int map_side_by_side(const struct rig *rig, void *memory, __u64 iova)
{
	void *pages[RUN];
	__u64 frame;
	int i, num;

	for (i = 0; i < MANY; i++) {
		frame = page_frame(memory + i * HUGE_SIZE);
		for (num = 0; num < RUN; num++) {
			pages[num] = find_page(memory, frame);
			if (!pages[num])
				break;
			frame += HUGE_SIZE / PAGE_SIZE;
		}
		if (num == RUN)
			break;
	}
	for (i = 0; num == RUN && i < RUN; i++) {
		if (map_memory(rig, iova + i * HUGE_SIZE, pages[i], HUGE_SIZE,
			       READ_WRITE))
			num = -1;
	}
	return num;
}

TEST_F(queue, lies_across_many_blocks)
{
	void *memory = huge_memory(MANY * HUGE_SIZE);
	__u32 id;

	ASSERT_NE(NULL, memory);
	ASSERT_EQ(RUN, map_side_by_side(&self->rig, memory, FREE));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, FREE, RUN * HUGE_SIZE, &id));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, FREE + 2 * HUGE_SIZE, HUGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, FREE + HUGE_SIZE / 2 + 32,
				 3 * HUGE_SIZE, &id));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	/* One byte of a fifth one */
	EXPECT_NO_QUEUE(ENOENT, 0, FREE + 1, RUN * HUGE_SIZE);
	EXPECT_ALL_UNMAPS();
	munmap(memory, MANY * HUGE_SIZE);
}

TEST_F(queue, lies_where_another_one_does)
{
	__u32 first, second;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &first));
	EXPECT_EQ(0, queue_alloc(&self->rig, 1, IOVA, PAGE_SIZE, &second));
	EXPECT_EQ(0, destroy(self->rig.fd, second));
	/* The other one still locks it */
	EXPECT_EQ(-EBUSY, unmap(&self->rig, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, queue_alloc(&self->rig, 1, IOVA + 1, 2 * PAGE_SIZE,
				 &second));
	EXPECT_EQ(0, destroy(self->rig.fd, second));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, unmap(&self->rig, IOVA + PAGE_SIZE, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, first));
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, lies_in_a_file)
{
	int fd = make_memfd(HUGE_SIZE, MFD_HUGETLB);
	__u32 id;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, map_file(&self->rig, fd, 0, HUGE_SIZE, FREE, READ_WRITE));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, FREE + 32, HUGE_SIZE - 32,
				 &id));
	close(fd);
	EXPECT_EQ(-EBUSY, unmap(&self->rig, FREE, HUGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_ALL_UNMAPS();
}

/*
 * What a queue keeps, and what goes first.
 */

TEST_F(queue, queue_0_is_busy_while_queue_1_exists)
{
	__u32 first, second;
	int i;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &first));
	ASSERT_EQ(0, queue_alloc(&self->rig, 1, IOVA + PAGE_SIZE, PAGE_SIZE,
				 &second));
	for (i = 0; i < ROUNDS; i++)
		ASSERT_EQ(-EBUSY, destroy(self->rig.fd, first));
	EXPECT_EQ(0, destroy(self->rig.fd, second));
	EXPECT_EQ(0, destroy(self->rig.fd, first));
	EXPECT_EQ(-ENOENT, destroy(self->rig.fd, first));
}

TEST_F(queue, queue_1_comes_again_on_the_same_queue_0)
{
	__u32 first, second;
	int i;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &first));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, queue_alloc(&self->rig, 1, IOVA, PAGE_SIZE,
					 &second));
		ASSERT_EQ(0, destroy(self->rig.fd, second));
	}
	EXPECT_EQ(0, destroy(self->rig.fd, first));
}

TEST_F(queue, queues_of_two_viommus_are_independent)
{
	struct rig other = self->rig;
	__u32 mine, theirs;

	ASSERT_EQ(0, viommu_alloc(&self->rig, &other.viommu));
	EXPECT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &mine));
	EXPECT_EQ(-EIO, queue_alloc(&other, 1, IOVA, PAGE_SIZE, &theirs));
	EXPECT_EQ(0, queue_alloc(&other, 0, IOVA, PAGE_SIZE, &theirs));
	EXPECT_EQ(0, destroy(self->rig.fd, mine));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, other.viommu));
	EXPECT_EQ(0, destroy(self->rig.fd, theirs));
	EXPECT_EQ(0, destroy(self->rig.fd, other.viommu));
}

TEST_F(queue, viommu_is_busy)
{
	__u32 first, second;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &first));
	ASSERT_EQ(0, queue_alloc(&self->rig, 1, IOVA, PAGE_SIZE, &second));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.viommu));
	ASSERT_EQ(0, destroy(self->rig.fd, second));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.viommu));
	ASSERT_EQ(0, destroy(self->rig.fd, first));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

TEST_F(queue, viommu_is_free_after_an_alloc_that_failed)
{
	EXPECT_NO_QUEUE(EIO, 1, IOVA, PAGE_SIZE);
	EXPECT_NO_QUEUE(ENOENT, 0, FREE, PAGE_SIZE);
	EXPECT_NO_QUEUE(EINVAL, 2, IOVA, PAGE_SIZE);
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

TEST_F(queue, parent_and_ioas_are_busy)
{
	struct rig *rig = &self->rig;
	__u32 id;

	ASSERT_EQ(0, queue_alloc(rig, 0, IOVA, PAGE_SIZE, &id));
	/* Without the device, which also holds the IOAS */
	ASSERT_EQ(0, destroy(rig->fd, rig->stdev));
	EXPECT_EQ(-EBUSY, destroy(rig->fd, rig->parent));
	EXPECT_EQ(-EBUSY, destroy(rig->fd, rig->ioas));
	EXPECT_EQ(0, destroy(rig->fd, id));
	EXPECT_EQ(0, destroy(rig->fd, rig->viommu));
	EXPECT_EQ(0, destroy(rig->fd, rig->parent));
	EXPECT_EQ(0, destroy(rig->fd, rig->ioas));
}

TEST_F(queue, device_can_go_first)
{
	__u32 first, second;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &first));
	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.stdev));
	EXPECT_EQ(0, queue_alloc(&self->rig, 1, IOVA, PAGE_SIZE, &second));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, second));
	EXPECT_EQ(0, destroy(self->rig.fd, first));
	EXPECT_ALL_UNMAPS();
}

TEST_F(queue, memory_is_busy_at_once)
{
	double since;
	__u32 id;
	int i;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &id));
	since = seconds();
	for (i = 0; i < ROUNDS; i++)
		ASSERT_EQ(-EBUSY, unmap(&self->rig, IOVA, PAGE_SIZE));
	EXPECT_GT(5, seconds() - since);
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, PAGE_SIZE));
}

TEST_F(queue, memory_beside_it_unmaps)
{
	__u32 id;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA + PAGE_SIZE, PAGE_SIZE,
				 &id));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, unmap(&self->rig, IOVA + 2 * PAGE_SIZE, PAGE_SIZE));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, IOVA + PAGE_SIZE, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, unmap(&self->rig, IOVA + PAGE_SIZE, PAGE_SIZE));
}

TEST_F(queue, memory_is_busy_when_all_is_unmapped)
{
	__u32 id;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &id));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, 0, ~0UL));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, IOVA, PAGES * PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_ALL_UNMAPS();
}

/* An unmap that fails does not make it inaccessible */
TEST_F(queue, memory_that_is_busy_takes_another_queue)
{
	__u32 first, second;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &first));
	ASSERT_EQ(-EBUSY, unmap(&self->rig, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, queue_alloc(&self->rig, 1, IOVA, PAGE_SIZE, &second));
	EXPECT_EQ(0, check_map(&self->rig, IOVA, self->memory, PAGE_SIZE));
}

TEST_F(queue, memory_is_free_in_another_ioas)
{
	struct rig second;
	__u32 id;

	ASSERT_EQ(0, second_ioas(&self->rig, &second));
	ASSERT_EQ(0, copy(&self->rig, &second, IOVA, PAGE_SIZE, READ_WRITE));
	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &id));
	EXPECT_EQ(0, unmap(&second, IOVA, PAGE_SIZE));
	/* And the other way: the copy has the queue, the original goes */
	ASSERT_EQ(0, map_memory(&second, FREE, self->memory, PAGE_SIZE,
				READ_WRITE));
	ASSERT_EQ(0, copy(&second, &self->rig, FREE, PAGE_SIZE, READ_WRITE));
	ASSERT_EQ(0, queue_alloc(&self->rig, 1, FREE, PAGE_SIZE, &id));
	EXPECT_EQ(0, unmap(&second, FREE, PAGE_SIZE));
	EXPECT_EQ(-EBUSY, unmap(&self->rig, FREE, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_EQ(0, unmap(&self->rig, FREE, PAGE_SIZE));
}

TEST_F(queue, memory_can_leave_the_process)
{
	long free = read_meminfo("HugePages_Free");
	__u32 id;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, WHOLE, HUGE_SIZE, &id));
	ASSERT_EQ(0, munmap(self->memory, HUGE_SIZE));
	/* It is pinned */
	EXPECT_EQ(free, read_meminfo("HugePages_Free"));
	EXPECT_EQ(0, destroy(self->rig.fd, id));
	EXPECT_ALL_UNMAPS();
	EXPECT_EQ(free_huge_pages, huge_pages());
}

TEST_F(queue, file_closed_with_queues_alive)
{
	__u32 id;

	ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &id));
	ASSERT_EQ(0, queue_alloc(&self->rig, 1, WHOLE, HUGE_SIZE, &id));
	rig_close(&self->rig);
	EXPECT_EQ(self->rig.mock_devices, mock_devices());
}

static void own_queues(int ready)
{
	void *memory = huge_memory(HUGE_SIZE);
	struct rig rig;
	void *page;
	__u64 offset;
	__u32 id;

	if (memory && !rig_open(&rig) &&
	    !map_memory(&rig, IOVA, memory, HUGE_SIZE, READ_WRITE) &&
	    !page_alloc(&rig, VALUE, &rig.viommu, &offset) &&
	    !map_page(rig.fd, offset, PAGE_SIZE, PROT_READ, MAP_SHARED,
		      &page) &&
	    !queue_alloc(&rig, 0, IOVA, PAGE_SIZE, &id) &&
	    !queue_alloc(&rig, 1, IOVA, HUGE_SIZE, &id) &&
	    write(ready, "", 1) == 1)
		pause();
	_exit(1);
}

TEST_F(queue, killed_process_leaves_nothing)
{
	int before = mock_devices();
	long pages = huge_pages();
	int fds[2];
	int status;
	pid_t pid;
	char byte;

	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		own_queues(fds[1]);
	close(fds[1]);
	ASSERT_EQ(1, read(fds[0], &byte, 1));
	EXPECT_EQ(before + 1, mock_devices());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(before, mock_devices());
	EXPECT_EQ(pages, huge_pages());
}

/*
 * Races: whoever wins, the other one gets a proper error.
 */

struct race {
	const struct rig *rig;
	pthread_barrier_t barrier;
	__u32 id;
	/* Set by the test to end its threads, and by these */
	int stop;
	int done;
	int wrong;
};

static bool stopped(struct race *race)
{
	return __atomic_load_n(&race->stop, __ATOMIC_ACQUIRE);
}

static void count(struct race *race, bool right)
{
	__atomic_add_fetch(right ? &race->done : &race->wrong, 1,
			   __ATOMIC_ACQ_REL);
}

static void start(struct race *race, pthread_t *thread, void *(*fn)(void *))
{
	assert(!pthread_create(thread, NULL, fn, race));
}

/* A thread ends; returns how often it saw what it should not */
static int finish(struct race *race, pthread_t thread)
{
	__atomic_store_n(&race->stop, 1, __ATOMIC_RELEASE);
	assert(!pthread_join(thread, NULL));
	return race->wrong;
}

static void wait_for(struct race *race, int num)
{
	while (__atomic_load_n(&race->done, __ATOMIC_ACQUIRE) < num)
		sched_yield();
}

static void *make_one_queue(void *arg)
{
	struct race *race = arg;
	__u32 id;
	int rc;

	pthread_barrier_wait(&race->barrier);
	rc = queue_alloc(race->rig, 0, IOVA, PAGE_SIZE, &id);
	count(race, !rc || rc == -EEXIST);
	return (void *)(long)(rc ? 0 : id);
}

TEST_F(queue, race_of_two_allocs)
{
	struct race race = { .rig = &self->rig };
	pthread_t thread;
	void *ids[2];
	int i;

	ASSERT_EQ(0, pthread_barrier_init(&race.barrier, NULL, 2));
	for (i = 0; i < ROUNDS; i++) {
		start(&race, &thread, make_one_queue);
		ids[0] = make_one_queue(&race);
		ASSERT_EQ(0, pthread_join(thread, &ids[1]));
		ASSERT_NE(!ids[0], !ids[1]);
		ASSERT_EQ(0, destroy(self->rig.fd, (long)(ids[0] ?: ids[1])));
	}
	EXPECT_EQ(0, race.wrong);
	EXPECT_ALL_UNMAPS();
}

static void *make_queue_1(void *arg)
{
	struct race *race = arg;
	__u32 id;
	int rc;

	while (!stopped(race)) {
		rc = queue_alloc(race->rig, 1, IOVA, PAGE_SIZE, &id);
		count(race, !rc || rc == -EIO);
		if (!rc)
			count(race, !destroy(race->rig->fd, id));
	}
	return NULL;
}

TEST_F(queue, race_of_queue_1_and_queue_0)
{
	struct race race = { .rig = &self->rig };
	pthread_t thread;
	__u32 id;
	int i, rc;

	start(&race, &thread, make_queue_1);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE, &id));
		wait_for(&race, 3 * i);
		do {
			rc = destroy(self->rig.fd, id);
		} while (rc == -EBUSY);
		ASSERT_EQ(0, rc);
	}
	EXPECT_EQ(0, finish(&race, thread));
	EXPECT_ALL_UNMAPS();
}

static void *make_no_queue_1(void *arg)
{
	struct race *race = arg;
	__u32 id;

	while (!stopped(race))
		count(race, queue_alloc(race->rig, 1, IOVA, PAGE_SIZE, &id) ==
				    -EIO);
	return NULL;
}

TEST_F(queue, race_of_queue_1_and_a_queue_0_that_fails)
{
	struct race race = { .rig = &self->rig };
	struct iommu_hw_queue_alloc *cmd;
	pthread_t thread;
	int i;

	cmd = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmd);
	*cmd = queue_cmd(&self->rig, 0, IOVA, PAGE_SIZE);
	ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ));

	start(&race, &thread, make_no_queue_1);
	for (i = 0; i < 20 * ROUNDS; i++) {
		ASSERT_EQ(-EFAULT,
			  call(self->rig.fd, IOMMU_HW_QUEUE_ALLOC, cmd));
	}
	wait_for(&race, ROUNDS);
	EXPECT_EQ(0, finish(&race, thread));
	EXPECT_ALL_UNMAPS();
}

static void *make_queues_if_mapped(void *arg)
{
	struct race *race = arg;
	__u32 id;
	int rc;

	while (!stopped(race)) {
		rc = queue_alloc(race->rig, 0, FREE, PAGE_SIZE, &id);
		/* EINVAL: while it is being unmapped */
		count(race, !rc || rc == -ENOENT || rc == -EINVAL);
		if (!rc)
			count(race, !destroy(race->rig->fd, id));
	}
	return NULL;
}

TEST_F(queue, race_of_alloc_and_unmap)
{
	struct race race = { .rig = &self->rig };
	pthread_t thread;
	int i, rc;

	start(&race, &thread, make_queues_if_mapped);
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, map_memory(&self->rig, FREE, self->memory,
					PAGE_SIZE, READ_WRITE));
		wait_for(&race, 3 * i);
		do {
			rc = unmap(&self->rig, FREE, PAGE_SIZE);
		} while (rc == -EBUSY);
		ASSERT_EQ(0, rc);
	}
	EXPECT_EQ(0, finish(&race, thread));
}

static void *destroy_queue(void *arg)
{
	struct race *race = arg;

	pthread_barrier_wait(&race->barrier);
	return (void *)(long)destroy(race->rig->fd, race->id);
}

TEST_F(queue, race_of_two_destroys)
{
	struct race race = { .rig = &self->rig };
	pthread_t thread;
	void *theirs;
	long mine;
	int i;

	ASSERT_EQ(0, pthread_barrier_init(&race.barrier, NULL, 2));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, queue_alloc(&self->rig, 0, IOVA, PAGE_SIZE,
					 &race.id));
		start(&race, &thread, destroy_queue);
		mine = (long)destroy_queue(&race);
		ASSERT_EQ(0, pthread_join(thread, &theirs));
		ASSERT_EQ(-ENOENT, mine + (long)theirs);
	}
}

/*
 * mmap() of what a vIOMMU has for it.
 */

FIXTURE(registers)
{
	struct rig rig;
	__u32 viommu;
	__u64 offset;
};

FIXTURE_SETUP(registers)
{
	ASSERT_EQ(0, open_rig(&self->rig));
	ASSERT_EQ(0, page_alloc(&self->rig, VALUE, &self->viommu,
				&self->offset));
}

FIXTURE_TEARDOWN(registers)
{
	check_all_gone(_metadata, &self->rig);
}

#define MAP(_page)                                                          \
	ASSERT_EQ(0, map_page(self->rig.fd, self->offset, PAGE_SIZE,        \
			      PROT_READ | PROT_WRITE, MAP_SHARED, _page))

#define EXPECT_NO_MAP(_errno, _offset, _length, _prot, _flags)              \
	EXPECT_EQ(-(_errno), try_page(self->rig.fd, _offset, _length, _prot, \
				      _flags))

TEST_F(registers, hold_the_data_of_the_alloc)
{
	void *page;

	MAP(&page);
	EXPECT_EQ(VALUE, *(__u32 *)page);
}

TEST_F(registers, can_be_written)
{
	__u32 *first, *second;

	MAP((void **)&first);
	MAP((void **)&second);
	EXPECT_NE(first, second);
	first[PAGE_SIZE / 4 - 1] = 12345;
	EXPECT_EQ(12345, second[PAGE_SIZE / 4 - 1]);
	ASSERT_EQ(0, munmap(first, PAGE_SIZE));
	ASSERT_EQ(0, munmap(second, PAGE_SIZE));
	/* They are still the same ones */
	MAP((void **)&first);
	EXPECT_EQ(12345, first[PAGE_SIZE / 4 - 1]);
}

TEST_F(registers, can_be_mapped_to_read_only)
{
	void *page;

	ASSERT_EQ(0, map_page(self->rig.fd, self->offset, PAGE_SIZE, PROT_READ,
			      MAP_SHARED, &page));
	EXPECT_EQ(VALUE, *(__u32 *)page);
}

TEST_F(registers, are_of_a_page_and_never_at_0)
{
	struct iommu_viommu_selftest data = {};
	struct iommu_viommu_alloc cmd = viommu_cmd(&self->rig);

	cmd.data_uptr = (uintptr_t)&data;
	cmd.data_len = sizeof(data);
	ASSERT_EQ(0, call(self->rig.fd, IOMMU_VIOMMU_ALLOC, &cmd));
	EXPECT_EQ(PAGE_SIZE, data.out_mmap_length);
	EXPECT_NE(0, data.out_mmap_offset);
	EXPECT_EQ(0, data.out_mmap_offset % PAGE_SIZE);
	EXPECT_NE(0, self->offset);
	EXPECT_NE(self->offset, data.out_mmap_offset);
	EXPECT_NO_MAP(ENXIO, 0, PAGE_SIZE, PROT_READ, MAP_SHARED);
}

TEST_F(registers, are_each_viommus_own)
{
	__u64 offsets[16];
	__u32 *page;
	__u32 id;
	int i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++)
		ASSERT_EQ(0, page_alloc(&self->rig, i, &id, &offsets[i]));
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		ASSERT_EQ(0, map_page(self->rig.fd, offsets[i], PAGE_SIZE,
				      PROT_READ, MAP_SHARED, (void **)&page));
		EXPECT_EQ(i, *page);
	}
}

TEST_F(registers, are_none_of_a_viommu_without_data_ENXIO)
{
	struct rig rig;

	ASSERT_EQ(0, rig_open(&rig));
	EXPECT_EQ(-ENXIO, try_page(rig.fd, PAGE_SIZE, PAGE_SIZE, PROT_READ,
				   MAP_SHARED));
}

/* The last one of some, whose others are gone */
TEST_F(registers, other_offset_ENXIO)
{
	__u32 ids[5] = { self->viommu };
	__u64 offset;
	int i;

	for (i = 1; i < ARRAY_SIZE(ids); i++)
		ASSERT_EQ(0, page_alloc(&self->rig, VALUE, &ids[i], &offset));
	for (i = 0; i < ARRAY_SIZE(ids) - 1; i++)
		ASSERT_EQ(0, destroy(self->rig.fd, ids[i]));
	EXPECT_EQ(0, try_page(self->rig.fd, offset, PAGE_SIZE, PROT_READ,
			      MAP_SHARED));
	EXPECT_NO_MAP(ENXIO, 0, PAGE_SIZE, PROT_READ, MAP_SHARED);
	EXPECT_NO_MAP(ENXIO, offset - PAGE_SIZE, PAGE_SIZE, PROT_READ,
		      MAP_SHARED);
	EXPECT_NO_MAP(ENXIO, offset + PAGE_SIZE, PAGE_SIZE, PROT_READ,
		      MAP_SHARED);
	EXPECT_NO_MAP(ENXIO, offset * 2, PAGE_SIZE, PROT_READ, MAP_SHARED);
	EXPECT_NO_MAP(ENXIO, offset / 2 & -PAGE_SIZE, PAGE_SIZE, PROT_READ,
		      MAP_SHARED);
	EXPECT_NO_MAP(ENXIO, 1UL << 40, PAGE_SIZE, PROT_READ, MAP_SHARED);
	EXPECT_NO_MAP(ENXIO, 1UL << 62, PAGE_SIZE, PROT_READ, MAP_SHARED);
}

TEST_F(registers, other_length_ENXIO)
{
	EXPECT_NO_MAP(ENXIO, self->offset, PAGE_SIZE + 1, PROT_READ,
		      MAP_SHARED);
	EXPECT_NO_MAP(ENXIO, self->offset, 2 * PAGE_SIZE, PROT_READ,
		      MAP_SHARED);
	EXPECT_NO_MAP(ENXIO, self->offset, HUGE_SIZE, PROT_READ, MAP_SHARED);
	EXPECT_NO_MAP(EINVAL, self->offset, 0, PROT_READ, MAP_SHARED);
	/* Pages are all that there is */
	EXPECT_EQ(0, try_page(self->rig.fd, self->offset, 1, PROT_READ,
			      MAP_SHARED));
}

TEST_F(registers, pages_of_two_are_not_mapped_as_one_ENXIO)
{
	__u64 offset;
	__u32 id;

	ASSERT_EQ(0, page_alloc(&self->rig, VALUE, &id, &offset));
	ASSERT_EQ(self->offset + PAGE_SIZE, offset);
	EXPECT_NO_MAP(ENXIO, self->offset, 2 * PAGE_SIZE, PROT_READ,
		      MAP_SHARED);
}

TEST_F(registers, private_EINVAL)
{
	EXPECT_NO_MAP(EINVAL, self->offset, PAGE_SIZE, PROT_READ, MAP_PRIVATE);
	EXPECT_NO_MAP(EINVAL, self->offset, PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE);
}

TEST_F(registers, executable_EPERM)
{
	EXPECT_NO_MAP(EPERM, self->offset, PAGE_SIZE, PROT_READ | PROT_EXEC,
		      MAP_SHARED);
	EXPECT_NO_MAP(EPERM, self->offset, PAGE_SIZE, PROT_EXEC, MAP_SHARED);
}

TEST_F(registers, made_executable_EACCES)
{
	void *page;

	MAP(&page);
	EXPECT_EQ(-1, mprotect(page, PAGE_SIZE, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	/* Other changes are none of our business */
	EXPECT_EQ(0, mprotect(page, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(0, mprotect(page, PAGE_SIZE, PROT_READ | PROT_WRITE));
	*(__u32 *)page = 1;
}

TEST_F(registers, refused_map_holds_nothing)
{
	EXPECT_NO_MAP(EINVAL, self->offset, PAGE_SIZE, PROT_READ, MAP_PRIVATE);
	EXPECT_NO_MAP(EPERM, self->offset, PAGE_SIZE, PROT_EXEC, MAP_SHARED);
	EXPECT_NO_MAP(ENXIO, self->offset, 2 * PAGE_SIZE, PROT_READ,
		      MAP_SHARED);
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, do_not_grow)
{
	void *page, *room;

	MAP(&page);
	EXPECT_EQ(MAP_FAILED, mremap(page, PAGE_SIZE, 2 * PAGE_SIZE, 0));
	EXPECT_EQ(MAP_FAILED, mremap(page, PAGE_SIZE, 2 * PAGE_SIZE,
				     MREMAP_MAYMOVE));
	/* Nor do they get a copy in this way */
	EXPECT_EQ(MAP_FAILED, mremap(page, 0, PAGE_SIZE, MREMAP_MAYMOVE));
	room = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	EXPECT_EQ(MAP_FAILED, mremap(page, PAGE_SIZE, PAGE_SIZE,
				     MREMAP_MAYMOVE | MREMAP_FIXED |
					     MREMAP_DONTUNMAP, room));
	EXPECT_EQ(VALUE, *(__u32 *)page);
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, can_be_moved)
{
	void *page, *room;

	MAP(&page);
	room = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	ASSERT_NE(MAP_FAILED, room);
	ASSERT_EQ(room, mremap(page, PAGE_SIZE, PAGE_SIZE,
			       MREMAP_MAYMOVE | MREMAP_FIXED, room));
	EXPECT_EQ(VALUE, *(__u32 *)room);
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->viommu));
	ASSERT_EQ(0, munmap(room, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, destroyed_ENXIO)
{
	ASSERT_EQ(0, destroy(self->rig.fd, self->viommu));
	EXPECT_NO_MAP(ENXIO, self->offset, PAGE_SIZE, PROT_READ, MAP_SHARED);
}

TEST_F(registers, of_another_context_ENXIO)
{
	struct rig other;
	__u64 offset;
	__u32 id;

	ASSERT_EQ(0, page_alloc(&self->rig, VALUE, &id, &offset));
	ASSERT_EQ(0, rig_open(&other));
	EXPECT_EQ(-ENXIO, try_page(other.fd, offset, PAGE_SIZE, PROT_READ,
				   MAP_SHARED));
}

TEST_F(registers, of_each_context_are_its_own)
{
	__u64 offset;
	__u32 *page;
	struct rig other;

	ASSERT_EQ(0, rig_open(&other));
	ASSERT_EQ(0, page_alloc(&other, VALUE + 1, &other.viommu, &offset));
	/* The same number, but not the same page */
	ASSERT_EQ(self->offset, offset);
	MAP((void **)&page);
	EXPECT_EQ(VALUE, *page);
}

TEST_F(registers, can_not_be_mapped_for_devices)
{
	void *page;

	MAP(&page);
	EXPECT_EQ(-EFAULT, map_memory(&self->rig, IOVA, page, PAGE_SIZE,
				      READ_WRITE));
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, viommu_is_busy_while_mapped)
{
	void *page;
	int i;

	MAP(&page);
	for (i = 0; i < ROUNDS; i++)
		ASSERT_EQ(-EBUSY, destroy(self->rig.fd, self->viommu));
	EXPECT_EQ(VALUE, *(__u32 *)page);
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, viommu_is_busy_until_the_last_map_is_gone)
{
	void *first, *second;

	MAP(&first);
	MAP(&second);
	ASSERT_EQ(0, munmap(first, PAGE_SIZE));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->viommu));
	ASSERT_EQ(0, munmap(second, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, viommu_is_free_when_something_else_is_mapped_there)
{
	void *page;

	MAP(&page);
	ASSERT_EQ(page, mmap(page, PAGE_SIZE, PROT_READ,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, others_viommu_is_not_busy)
{
	void *page;

	MAP(&page);
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
}

TEST_F(registers, parent_is_busy_while_mapped)
{
	void *page;

	MAP(&page);
	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
	ASSERT_EQ(-EBUSY, destroy(self->rig.fd, self->viommu));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->rig.parent));
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	ASSERT_EQ(0, destroy(self->rig.fd, self->viommu));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.parent));
}

TEST_F(registers, child_has_a_map_of_its_own)
{
	struct child child;
	void *page;

	MAP(&page);
	ASSERT_EQ(0, child_start(&child));
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	EXPECT_EQ(-EBUSY, destroy(self->rig.fd, self->viommu));
	EXPECT_EQ(0, child_end(&child));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, child_maps_what_its_parent_made)
{
	__u32 *page;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (map_page(self->rig.fd, self->offset, PAGE_SIZE, PROT_READ,
			     MAP_SHARED, (void **)&page))
			_exit(1);
		_exit(*page == VALUE ? 0 : 2);
	}
	EXPECT_EQ(0, child_rc(pid));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, killed_child_frees_its_map)
{
	struct child child;
	void *page;

	MAP(&page);
	ASSERT_EQ(0, child_start(&child));
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	ASSERT_EQ(0, kill(child.pid, SIGKILL));
	EXPECT_EQ(-1, child_rc(child.pid));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, map_outlives_its_file)
{
	__u32 *page;

	MAP((void **)&page);
	rig_close(&self->rig);
	EXPECT_EQ(self->rig.mock_devices + 1, mock_devices());
	EXPECT_EQ(VALUE, *page);
	page[1] = 1;
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	EXPECT_EQ(self->rig.mock_devices, mock_devices());
}

TEST_F(registers, device_can_go_first)
{
	__u32 *page;

	MAP((void **)&page);
	ASSERT_EQ(0, destroy(self->rig.fd, self->rig.stdev));
	EXPECT_EQ(VALUE, *page);
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

TEST_F(registers, offset_is_free_after_destroy)
{
	__u64 offset;
	void *page;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, destroy(self->rig.fd, self->viommu));
		ASSERT_EQ(0, page_alloc(&self->rig, i, &self->viommu, &offset));
		ASSERT_EQ(self->offset, offset);
		MAP(&page);
		ASSERT_EQ(i, *(__u32 *)page);
		ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	}
}

/* Data that can be read but not written: the page is there when it fails */
static struct iommu_viommu_alloc bad_alloc(const struct rig *rig)
{
	struct iommu_viommu_alloc cmd = viommu_cmd(rig);
	void *data = mmap(NULL, PAGE_SIZE, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(data != MAP_FAILED);
	cmd.data_uptr = (uintptr_t)data;
	cmd.data_len = sizeof(struct iommu_viommu_selftest);
	return cmd;
}

TEST_F(registers, offset_is_free_after_an_alloc_that_failed)
{
	struct iommu_viommu_alloc cmd = bad_alloc(&self->rig);
	__u64 offset;
	__u32 id;

	EXPECT_REFUSED(EFAULT, IOMMU_VIOMMU_ALLOC, &cmd);
	EXPECT_NO_MAP(ENXIO, self->offset + PAGE_SIZE, PAGE_SIZE, PROT_READ,
		      MAP_SHARED);
	ASSERT_EQ(0, page_alloc(&self->rig, VALUE, &id, &offset));
	EXPECT_EQ(self->offset + PAGE_SIZE, offset);
}

/* What the answer of the ioctl itself fails to tell can't be mapped either */
TEST_F(registers, offset_is_free_after_an_answer_that_failed)
{
	struct iommu_viommu_selftest data = {};
	struct iommu_viommu_alloc *cmd;
	__u64 offset;
	__u32 id;

	cmd = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmd);
	*cmd = viommu_cmd(&self->rig);
	cmd->data_uptr = (uintptr_t)&data;
	cmd->data_len = sizeof(data);
	ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ));
	EXPECT_REFUSED(EFAULT, IOMMU_VIOMMU_ALLOC, cmd);
	EXPECT_EQ(self->offset + PAGE_SIZE, data.out_mmap_offset);
	EXPECT_NO_MAP(ENXIO, data.out_mmap_offset, PAGE_SIZE, PROT_READ,
		      MAP_SHARED);
	ASSERT_EQ(0, page_alloc(&self->rig, VALUE, &id, &offset));
	EXPECT_EQ(self->offset + PAGE_SIZE, offset);
}

static void *map_next_always(void *arg)
{
	struct race *race = arg;
	int i;

	while (!stopped(race)) {
		for (i = 2; i < 5; i++) {
			count(race, try_page(race->rig->fd, i * PAGE_SIZE,
					     PAGE_SIZE, PROT_READ,
					     MAP_SHARED) == -ENXIO);
		}
	}
	return NULL;
}

static void *fail_alloc_always(void *arg)
{
	struct race *race = arg;
	struct iommu_viommu_alloc cmd = bad_alloc(race->rig);

	while (!stopped(race))
		count(race, call(race->rig->fd, IOMMU_VIOMMU_ALLOC, &cmd) ==
				    -EFAULT);
	return NULL;
}

TEST_F_TIMEOUT(registers, race_of_mmap_and_allocs_that_fail, 120)
{
	pthread_t threads[4];
	struct race races[ARRAY_SIZE(threads)] = {};
	int i;

	ASSERT_EQ(PAGE_SIZE, self->offset);
	for (i = 0; i < ARRAY_SIZE(threads); i++) {
		races[i].rig = &self->rig;
		start(&races[i], &threads[i],
		      i % 2 ? map_next_always : fail_alloc_always);
	}
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		wait_for(&races[i], 20 * ROUNDS);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		EXPECT_EQ(0, finish(&races[i], threads[i]));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

static void *map_one_always(void *arg)
{
	struct race *race = arg;
	int rc;

	while (!stopped(race)) {
		rc = try_page(race->rig->fd, PAGE_SIZE, PAGE_SIZE, PROT_READ,
			      MAP_SHARED);
		count(race, !rc || rc == -ENXIO);
	}
	return NULL;
}

TEST_F_TIMEOUT(registers, race_of_mmap_and_destroy, 120)
{
	struct race race = { .rig = &self->rig };
	pthread_t thread;
	__u64 offset;
	int i, rc;

	start(&race, &thread, map_one_always);
	for (i = 0; i < 5 * ROUNDS; i++) {
		wait_for(&race, 2 * i);
		do {
			rc = destroy(self->rig.fd, self->viommu);
		} while (rc == -EBUSY);
		ASSERT_EQ(0, rc);
		ASSERT_EQ(0, page_alloc(&self->rig, VALUE, &self->viommu,
					&offset));
		ASSERT_EQ(PAGE_SIZE, offset);
	}
	EXPECT_EQ(0, finish(&race, thread));
	EXPECT_EQ(0, destroy(self->rig.fd, self->viommu));
}

/*
 * IOMMU_IOAS_MAP_FILE, of four folios.
 */

#define FOLIOS 4

FIXTURE(file)
{
	struct rig rig;
	int fd;
	size_t length;
};

FIXTURE_VARIANT(file)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(file, small_pages)
{
	.flags = 0,
};

FIXTURE_VARIANT_ADD(file, huge_pages)
{
	.flags = MFD_HUGETLB,
};

/* The size of a folio */
#define FOLIO (self->length / FOLIOS)

FIXTURE_SETUP(file)
{
	ASSERT_EQ(0, open_rig(&self->rig));
	self->length = FOLIOS * (variant->flags ? HUGE_SIZE : PAGE_SIZE);
	self->fd = make_memfd(self->length, variant->flags);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(file)
{
	check_all_gone(_metadata, &self->rig);
}

#define MAP_ALL(_prot)                                                \
	ASSERT_EQ(0, map_file(&self->rig, self->fd, 0, self->length, IOVA, \
			      _prot))

#define EXPECT_NO_FILE(_errno, _fd, _start, _length, _prot)                 \
	do {                                                                \
		struct iommu_ioas_map_file _cmd =                           \
			map_file_cmd(&self->rig, _fd, _start, _length, IOVA, \
				     _prot);                                \
		EXPECT_REFUSED(_errno, IOMMU_IOAS_MAP_FILE, &_cmd);         \
	} while (0)

/* Nobody has a page of it pinned, nor holds it open for writing */
#define EXPECT_FILE_IS_FREE() \
	EXPECT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE))

static void *view(int fd, size_t length)
{
	void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED,
			    fd, 0);

	assert(memory != MAP_FAILED);
	return memory;
}

TEST_F(file, has_the_pages_of_the_file)
{
	void *memory;

	MAP_ALL(READ_WRITE);
	memory = view(self->fd, self->length);
	EXPECT_EQ(0, check_map(&self->rig, IOVA, memory, self->length));
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, has_the_pages_that_were_there_before)
{
	void *memory = view(self->fd, self->length);

	/* Some of them */
	memset(memory + FOLIO, 1, 1);
	memset(memory + 3 * FOLIO, 1, 1);
	MAP_ALL(READ_WRITE);
	EXPECT_EQ(1, *(char *)(memory + FOLIO));
	EXPECT_EQ(0, check_map(&self->rig, IOVA, memory, self->length));
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, starts_and_ends_anywhere)
{
	const size_t steps[] = {
		0, IO_PAGE_SIZE, PAGE_SIZE, FOLIO / 2, FOLIO - IO_PAGE_SIZE,
		FOLIO, FOLIO + IO_PAGE_SIZE, FOLIO + PAGE_SIZE,
		2 * FOLIO - IO_PAGE_SIZE, 2 * FOLIO,
	};
	void *memory = view(self->fd, self->length);
	size_t first, last;
	int i, j;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		for (j = 0; j < ARRAY_SIZE(steps); j++) {
			first = steps[i];
			last = self->length - steps[j];
			if (first >= last)
				continue;
			ASSERT_EQ(0, map_file(&self->rig, self->fd, first,
					      last - first, IOVA + first,
					      READ_WRITE));
			ASSERT_EQ(0, check_map(&self->rig, IOVA + first,
					       memory + first, last - first));
			ASSERT_EQ(0, unmap(&self->rig, IOVA + first,
					   last - first));
		}
	}
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, is_pinned_in_small_parts)
{
	void *memory = view(self->fd, self->length);
	size_t first = FOLIO / 2;
	size_t length = 2 * FOLIO;

	/* Room for 3 pages at a time */
	ASSERT_EQ(0, _test_ioctl_set_temp_memory_limit(self->rig.fd, 24));
	EXPECT_EQ(0, map_file(&self->rig, self->fd, first, length,
			      IOVA + first, READ_WRITE));
	EXPECT_EQ(0, check_map(&self->rig, IOVA + first, memory + first,
			       length));
	EXPECT_EQ(0, unmap(&self->rig, IOVA + first, length));
	EXPECT_EQ(0, _test_ioctl_set_temp_memory_limit(self->rig.fd, 65536));
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, gets_a_free_iova)
{
	struct iommu_ioas_map_file cmd =
		map_file_cmd(&self->rig, self->fd, FOLIO, FOLIO, 0, READ_WRITE);
	void *memory = view(self->fd, self->length);

	cmd.flags &= ~IOMMU_IOAS_MAP_FIXED_IOVA;
	ASSERT_EQ(0, call(self->rig.fd, IOMMU_IOAS_MAP_FILE, &cmd));
	EXPECT_NE(0, cmd.iova);
	EXPECT_EQ(0, check_map(&self->rig, cmd.iova, memory + FOLIO, FOLIO));
}

TEST_F(file, used_iova_EEXIST)
{
	MAP_ALL(READ_WRITE);
	EXPECT_NO_FILE(EEXIST, self->fd, 0, self->length, READ_WRITE);
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, maps_many_times)
{
	int i;

	for (i = 0; i < 16; i++) {
		ASSERT_EQ(0, map_file(&self->rig, self->fd, 0, self->length,
				      IOVA + i * self->length, READ_WRITE));
	}
	for (i = 0; i < 16; i++) {
		ASSERT_EQ(0, unmap(&self->rig, IOVA + i * self->length,
				   self->length));
	}
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, flags_EOPNOTSUPP)
{
	struct iommu_ioas_map_file cmd =
		map_file_cmd(&self->rig, self->fd, 0, self->length, IOVA,
			     READ_WRITE);
	int i;

	for (i = 3; i < 32; i++) {
		cmd.flags = READ_WRITE | IOMMU_IOAS_MAP_FIXED_IOVA | 1U << i;
		EXPECT_REFUSED(EOPNOTSUPP, IOMMU_IOAS_MAP_FILE, &cmd);
	}
}

TEST_F(file, neither_to_read_nor_to_write_EINVAL)
{
	EXPECT_NO_FILE(EINVAL, self->fd, 0, self->length, 0);
}

TEST_F(file, unknown_ioas_ENOENT)
{
	struct iommu_ioas_map_file cmd =
		map_file_cmd(&self->rig, self->fd, 0, self->length, IOVA,
			     READ_WRITE);

	cmd.ioas_id = NO_ID;
	EXPECT_REFUSED(ENOENT, IOMMU_IOAS_MAP_FILE, &cmd);
	cmd.ioas_id = self->rig.parent;
	EXPECT_REFUSED(ENOENT, IOMMU_IOAS_MAP_FILE, &cmd);
}

TEST_F(file, end_beyond_all_addresses_EOVERFLOW)
{
	struct iommu_ioas_map_file cmd;

	EXPECT_NO_FILE(EOVERFLOW, self->fd, 1UL << 63, PAGE_SIZE, READ_ONLY);
	EXPECT_NO_FILE(EOVERFLOW, self->fd, -PAGE_SIZE, PAGE_SIZE, READ_ONLY);
	EXPECT_NO_FILE(EOVERFLOW, self->fd, ~0UL, 1, READ_ONLY);
	EXPECT_NO_FILE(EOVERFLOW, self->fd, 0, ~0UL, READ_ONLY);
	EXPECT_NO_FILE(EOVERFLOW, self->fd, 0, 1UL << 63, READ_ONLY);
	EXPECT_NO_FILE(EOVERFLOW, self->fd, PAGE_SIZE,
		       (1UL << 63) - PAGE_SIZE, READ_ONLY);
	EXPECT_NO_FILE(EOVERFLOW, self->fd, (1UL << 63) - PAGE_SIZE, PAGE_SIZE,
		       READ_ONLY);
	cmd = map_file_cmd(&self->rig, self->fd, 0, PAGE_SIZE, ~0UL, READ_ONLY);
	EXPECT_REFUSED(EOVERFLOW, IOMMU_IOAS_MAP_FILE, &cmd);
}

TEST_F(file, no_length_EINVAL)
{
	EXPECT_NO_FILE(EINVAL, self->fd, 0, 0, READ_WRITE);
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, beyond_the_end_EINVAL)
{
	EXPECT_NO_FILE(EINVAL, self->fd, self->length, PAGE_SIZE, READ_WRITE);
	EXPECT_NO_FILE(EINVAL, self->fd, self->length - PAGE_SIZE,
		       2 * PAGE_SIZE, READ_WRITE);
	EXPECT_NO_FILE(EINVAL, self->fd, 0, 2 * self->length, READ_WRITE);
	EXPECT_NO_FILE(EINVAL, self->fd, 0, 64 * HUGE_SIZE, READ_WRITE);
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, no_file_EBADF)
{
	int path = open("/dev/null", O_PATH);

	EXPECT_NO_FILE(EBADF, -1, 0, self->length, READ_WRITE);
	EXPECT_NO_FILE(EBADF, 12345, 0, self->length, READ_WRITE);
	EXPECT_NO_FILE(EBADF, path, 0, self->length, READ_WRITE);
	close(self->fd);
	EXPECT_NO_FILE(EBADF, self->fd, 0, self->length, READ_WRITE);
}

TEST_F(file, other_kind_of_file_EINVAL)
{
	int fds[2];
	int fd;

	fd = open("/proc/self/exe", O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_NO_FILE(EINVAL, fd, 0, PAGE_SIZE, READ_ONLY);
	fd = open("/dev/null", O_RDWR);
	EXPECT_NO_FILE(EINVAL, fd, 0, PAGE_SIZE, READ_WRITE);
	fd = open("/", O_RDONLY);
	EXPECT_NO_FILE(EINVAL, fd, 0, PAGE_SIZE, READ_ONLY);
	ASSERT_EQ(0, pipe(fds));
	EXPECT_NO_FILE(EINVAL, fds[0], 0, PAGE_SIZE, READ_ONLY);
	EXPECT_NO_FILE(EINVAL, self->rig.fd, 0, PAGE_SIZE, READ_WRITE);
}

/* Nor when no page is looked at, since no device is there */
TEST_F(file, other_kind_of_file_without_a_device_EINVAL)
{
	struct rig *rig = &self->rig;
	int fd = open("/proc/self/exe", O_RDONLY);

	ASSERT_EQ(0, _test_ioctl_ioas_alloc(rig->fd, &rig->ioas));
	EXPECT_NO_FILE(EINVAL, fd, 0, PAGE_SIZE, READ_ONLY);
}

static int reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

TEST_F(file, not_open_to_write_EPERM)
{
	int fd = reopen(self->fd, O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_NO_FILE(EPERM, fd, 0, self->length, READ_WRITE);
	EXPECT_NO_FILE(EPERM, fd, 0, self->length, WRITE_ONLY);
	EXPECT_EQ(0, map_file(&self->rig, fd, 0, self->length, IOVA,
			      READ_ONLY));
}

TEST_F(file, not_open_to_read_EPERM)
{
	int fd = reopen(self->fd, O_WRONLY);

	ASSERT_LE(0, fd);
	EXPECT_NO_FILE(EPERM, fd, 0, self->length, READ_WRITE);
	EXPECT_NO_FILE(EPERM, fd, 0, self->length, READ_ONLY);
}

TEST_F(file, sealed_against_writes_EPERM)
{
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_NO_FILE(EPERM, self->fd, 0, self->length, READ_WRITE);
	EXPECT_NO_FILE(EPERM, self->fd, 0, self->length, WRITE_ONLY);
	EXPECT_EQ(0, map_file(&self->rig, self->fd, 0, self->length, IOVA,
			      READ_ONLY));
}

TEST_F(file, sealed_against_future_writes_EPERM)
{
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	EXPECT_NO_FILE(EPERM, self->fd, 0, self->length, READ_WRITE);
	EXPECT_NO_FILE(EPERM, self->fd, 0, self->length, WRITE_ONLY);
	EXPECT_EQ(0, map_file(&self->rig, self->fd, 0, self->length, IOVA,
			      READ_ONLY));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

static int seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) ? -errno : 0;
}

TEST_F(file, can_not_be_sealed_while_mapped)
{
	MAP_ALL(READ_WRITE);
	EXPECT_EQ(-EBUSY, seal(self->fd));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_EQ(0, seal(self->fd));
	EXPECT_NO_FILE(EPERM, self->fd, 0, self->length, READ_WRITE);
}

/* Where no device is there yet the page that it writes is not pinned */
TEST_F(file, can_not_be_sealed_while_mapped_without_a_device)
{
	struct rig second = self->rig;
	__u32 stdev, device;

	ASSERT_EQ(0, _test_ioctl_ioas_alloc(self->rig.fd, &second.ioas));
	ASSERT_EQ(0, map_file(&second, self->fd, 0, self->length, IOVA,
			      READ_WRITE));
	EXPECT_EQ(-EBUSY, seal(self->fd));
	EXPECT_EQ(0, mock_device(&second, &stdev, &device));
	EXPECT_EQ(-EBUSY, seal(self->fd));
	EXPECT_EQ(0, destroy(self->rig.fd, stdev));
	EXPECT_EQ(-EBUSY, seal(self->fd));
	EXPECT_EQ(0, unmap(&second, IOVA, self->length));
	EXPECT_EQ(0, seal(self->fd));
}

TEST_F(file, can_be_sealed_while_mapped_to_be_read)
{
	struct rig second = self->rig;

	ASSERT_EQ(0, _test_ioctl_ioas_alloc(self->rig.fd, &second.ioas));
	ASSERT_EQ(0, map_file(&second, self->fd, 0, self->length, IOVA,
			      READ_ONLY));
	EXPECT_EQ(0, seal(self->fd));
	EXPECT_EQ(0, mock_device(&second, &second.stdev, &second.device));
}

TEST_F(file, can_be_sealed_after_the_context)
{
	MAP_ALL(READ_WRITE);
	rig_close(&self->rig);
	EXPECT_EQ(0, seal(self->fd));
}

TEST_F(file, copy_is_of_the_same_pages)
{
	void *memory = view(self->fd, self->length);
	struct rig second;

	MAP_ALL(READ_WRITE);
	ASSERT_EQ(0, second_ioas(&self->rig, &second));
	ASSERT_EQ(0, copy(&self->rig, &second, IOVA, self->length,
			  READ_WRITE));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_EQ(0, check_map(&second, IOVA, memory, self->length));
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_EQ(-EBUSY, seal(self->fd));
	EXPECT_EQ(0, unmap(&second, IOVA, self->length));
	EXPECT_EQ(0, seal(self->fd));
}

TEST_F(file, copy_to_write_of_one_to_read_EPERM)
{
	struct rig second;

	MAP_ALL(READ_ONLY);
	ASSERT_EQ(0, second_ioas(&self->rig, &second));
	EXPECT_EQ(-EPERM, copy(&self->rig, &second, IOVA, self->length,
			       READ_WRITE));
	EXPECT_EQ(0, copy(&self->rig, &second, IOVA, self->length, READ_ONLY));
	EXPECT_EQ(0, unmap(&second, IOVA, self->length));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, outlives_its_descriptor)
{
	void *memory = view(self->fd, self->length);

	MAP_ALL(READ_WRITE);
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(0, check_map(&self->rig, IOVA, memory, self->length));
}

/* Accesses: what a kernel driver reads and writes in place of a device */

static int access_rw(const struct rig *rig, __u32 access, __u64 iova, void *buf,
		     size_t length, __u32 flags)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.id = access,
		.access_rw = {
			.iova = iova,
			.length = length,
			.uptr = (uintptr_t)buf,
			.flags = flags,
		},
	};

	return call(rig->fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_ACCESS_RW), &cmd);
}

/* Write and read across the middle; @memory shows the file */
static int try_access(const struct rig *rig, __u32 access, size_t middle,
		      char *memory)
{
	static const char text[] = "Behind each byte is a page";
	size_t where = middle - sizeof(text) / 2;
	char buf[sizeof(text)] = "";

	if (access_rw(rig, access, IOVA + where, (void *)text, sizeof(text),
		      MOCK_ACCESS_RW_WRITE) ||
	    memcmp(memory + where, text, sizeof(text)))
		return -1;
	memory[where] = 'b';
	if (access_rw(rig, access, IOVA + where, buf, sizeof(buf), 0) ||
	    memcmp(memory + where, buf, sizeof(buf)) || buf[0] != 'b')
		return -2;
	return 0;
}

TEST_F(file, access_reads_and_writes_it)
{
	char *memory = view(self->fd, self->length);
	__u32 access;

	MAP_ALL(READ_WRITE);
	ASSERT_EQ(0, _test_cmd_create_access(self->rig.fd, self->rig.ioas,
					     &access, 0));
	EXPECT_EQ(0, try_access(&self->rig, access, 100, memory));
	EXPECT_EQ(0, try_access(&self->rig, access, PAGE_SIZE, memory));
	EXPECT_EQ(0, try_access(&self->rig, access, FOLIO, memory));
	EXPECT_EQ(0, try_access(&self->rig, access, 3 * FOLIO, memory));
}

/* Also from its start, and where no page has been looked at before */
TEST_F(file, access_without_a_device)
{
	char *memory = view(self->fd, self->length);
	struct rig *rig = &self->rig;
	__u32 access;

	ASSERT_EQ(0, _test_ioctl_ioas_alloc(rig->fd, &rig->ioas));
	MAP_ALL(READ_WRITE);
	ASSERT_EQ(0, _test_cmd_create_access(rig->fd, rig->ioas, &access, 0));
	EXPECT_EQ(0, try_access(rig, access, 3 * FOLIO, memory));
	EXPECT_EQ(0, try_access(rig, access, PAGE_SIZE, memory));
	close(access);
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_EQ(0, unmap(rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, access_of_the_start_in_the_file)
{
	char *memory = view(self->fd, self->length);
	size_t start = FOLIO / 2;
	__u32 access;

	ASSERT_EQ(0, map_file(&self->rig, self->fd, start, FOLIO, IOVA + start,
			      READ_WRITE));
	ASSERT_EQ(0, _test_cmd_create_access(self->rig.fd, self->rig.ioas,
					     &access, 0));
	EXPECT_EQ(0, try_access(&self->rig, access, FOLIO, memory));
	EXPECT_EQ(-ENOENT, access_rw(&self->rig, access, IOVA + start - 1,
				     memory, 1, 0));
}

TEST_F(file, access_to_write_what_is_to_be_read_EPERM)
{
	__u32 access;
	char byte;

	MAP_ALL(READ_ONLY);
	ASSERT_EQ(0, _test_cmd_create_access(self->rig.fd, self->rig.ioas,
					     &access, 0));
	EXPECT_EQ(0, access_rw(&self->rig, access, IOVA, &byte, 1, 0));
	EXPECT_EQ(-EPERM, access_rw(&self->rig, access, IOVA, &byte, 1,
				    MOCK_ACCESS_RW_WRITE));
}

TEST_F(file, access_pins_its_pages)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.access_pages = {
			.flags = MOCK_FLAGS_ACCESS_WRITE,
			.iova = IOVA + PAGE_SIZE,
			.length = 2 * PAGE_SIZE,
		},
	};
	const __u32 needs_pin = MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES;
	void *memory = view(self->fd, self->length);
	__u32 *id = &cmd.access_pages.out_access_pages_id;

	MAP_ALL(READ_WRITE);
	ASSERT_EQ(0, _test_cmd_create_access(self->rig.fd, self->rig.ioas,
					     &cmd.id, needs_pin));
	cmd.access_pages.uptr = (uintptr_t)memory + PAGE_SIZE;
	EXPECT_EQ(0, call(self->rig.fd,
			  _IOMMU_TEST_CMD(IOMMU_TEST_OP_ACCESS_PAGES), &cmd));
	/* Without a device they are what the access alone holds */
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.stdev));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.viommu));
	EXPECT_EQ(0, destroy(self->rig.fd, self->rig.parent));
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_EQ(-EBUSY, seal(self->fd));
	EXPECT_EQ(0, _test_cmd_destroy_access_pages(self->rig.fd, cmd.id, *id));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

/* What else happens to the file */

TEST_F(file, cut_off_while_mapped)
{
	__u32 access;
	char byte = 1;

	MAP_ALL(READ_WRITE);
	ASSERT_EQ(0, _test_cmd_create_access(self->rig.fd, self->rig.ioas,
					     &access, 0));
	ASSERT_EQ(0, ftruncate(self->fd, 0));
	/* Devices have the pages that they had */
	EXPECT_EQ(0, access_rw(&self->rig, access, IOVA, &byte, 1,
			       MOCK_ACCESS_RW_WRITE));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, cut_off_before_a_device_is_there)
{
	struct rig *rig = &self->rig;
	__u32 stdev, device, access;
	char byte;

	ASSERT_EQ(0, _test_ioctl_ioas_alloc(rig->fd, &rig->ioas));
	MAP_ALL(READ_WRITE);
	ASSERT_EQ(0, _test_cmd_create_access(rig->fd, rig->ioas, &access, 0));
	ASSERT_EQ(0, ftruncate(self->fd, FOLIO));
	EXPECT_EQ(-EINVAL, mock_device(rig, &stdev, &device));
	EXPECT_EQ(-EINVAL, access_rw(rig, access, IOVA + FOLIO, &byte, 1, 0));
	EXPECT_EQ(0, access_rw(rig, access, IOVA, &byte, 1, 0));
	ASSERT_EQ(0, ftruncate(self->fd, self->length));
	EXPECT_EQ(0, mock_device(rig, &stdev, &device));
	EXPECT_EQ(0, unmap(rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, hole_while_mapped)
{
	void *memory;

	MAP_ALL(READ_WRITE);
	ASSERT_EQ(0, fallocate(self->fd,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       FOLIO, FOLIO));
	memory = view(self->fd, self->length);
	EXPECT_EQ(0, check_map(&self->rig, IOVA, memory, FOLIO));
	EXPECT_EQ(-EINVAL, check_map(&self->rig, IOVA + FOLIO, memory + FOLIO,
				     FOLIO));
	EXPECT_EQ(0, check_map(&self->rig, IOVA + 2 * FOLIO, memory + 2 * FOLIO,
			       2 * FOLIO));
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

/* Processes: nothing depends on the one that has mapped it */

TEST_F(file, child_closes_it)
{
	void *memory = view(self->fd, self->length);
	pid_t pid;

	MAP_ALL(READ_WRITE);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(self->fd);
		close(self->rig.fd);
		_exit(0);
	}
	EXPECT_EQ(0, child_rc(pid));
	EXPECT_EQ(0, check_map(&self->rig, IOVA, memory, self->length));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
}

TEST_F(file, child_maps_it_and_is_gone)
{
	char *memory = view(self->fd, self->length);
	__u32 access;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-map_file(&self->rig, self->fd, 0, self->length, IOVA,
				READ_WRITE));
	ASSERT_EQ(0, child_rc(pid));
	EXPECT_EQ(0, check_map(&self->rig, IOVA, memory, self->length));
	ASSERT_EQ(0, _test_cmd_create_access(self->rig.fd, self->rig.ioas,
					     &access, 0));
	EXPECT_EQ(0, try_access(&self->rig, access, PAGE_SIZE, memory));
	close(access);
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, child_maps_it_for_later_devices_and_is_gone)
{
	void *memory = view(self->fd, self->length);
	struct rig second = self->rig;
	pid_t pid;

	ASSERT_EQ(0, _test_ioctl_ioas_alloc(self->rig.fd, &second.ioas));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-map_file(&second, self->fd, 0, self->length, IOVA,
				READ_WRITE));
	ASSERT_EQ(0, child_rc(pid));
	ASSERT_EQ(0, _test_cmd_mock_domain(second.fd, second.ioas,
					   &second.stdev, &second.parent,
					   &second.device));
	EXPECT_EQ(0, check_map(&second, IOVA, memory, self->length));
	ASSERT_EQ(0, munmap(memory, self->length));
	EXPECT_EQ(0, unmap(&second, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

TEST_F(file, child_maps_it_and_becomes_another_program)
{
	void *memory = view(self->fd, self->length);
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (map_file(&self->rig, self->fd, 0, self->length, IOVA,
			     READ_WRITE))
			_exit(1);
		execlp("true", "true", NULL);
		_exit(2);
	}
	ASSERT_EQ(0, child_rc(pid));
	EXPECT_EQ(0, check_map(&self->rig, IOVA, memory, self->length));
	EXPECT_EQ(0, unmap(&self->rig, IOVA, self->length));
}

TEST_F(file, child_unmaps_it)
{
	pid_t pid;

	MAP_ALL(READ_WRITE);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-unmap(&self->rig, IOVA, self->length));
	EXPECT_EQ(0, child_rc(pid));
	EXPECT_EQ(-ENOENT, unmap(&self->rig, IOVA, self->length));
	EXPECT_FILE_IS_FREE();
}

/* As a user who may lock so much memory, in the process or of all processes */
static int become_user(size_t may_lock)
{
	struct rlimit limit = { may_lock, may_lock };

	return setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(1234, 1234, 0) ?
		       -errno : 0;
}

TEST_F(file, counts_as_locked_memory_ENOMEM)
{
	size_t half = self->length / 2;
	int i;

	ASSERT_EQ(0, become_user(half));
	for (i = 0; i < ROUNDS; i++) {
		EXPECT_NO_FILE(ENOMEM, self->fd, 0, self->length, READ_WRITE);
		ASSERT_EQ(0, map_file(&self->rig, self->fd, 0, half, IOVA,
				      READ_WRITE));
		ASSERT_EQ(0, unmap(&self->rig, IOVA, half));
	}
	EXPECT_FILE_IS_FREE();
}

/* Kilobytes that a process has locked */
static long locked_memory(void)
{
	char line[128];
	long value = -1;
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "VmLck:", 6))
			value = strtol(line + 6, NULL, 10);
	}
	fclose(file);
	return value;
}

/* As VFIO does: in the process that has mapped it, whoever adds the device */
TEST_F(file, counts_in_the_process_that_mapped_it)
{
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = 1,
	};
	struct rig rig = { .fd = open("/dev/iommu", O_RDWR) };
	__u32 stdev, device;
	pid_t pid;

	ASSERT_EQ(0, call(rig.fd, IOMMU_OPTION, &option));
	ASSERT_EQ(0, _test_ioctl_ioas_alloc(rig.fd, &rig.ioas));
	ASSERT_EQ(0, become_user(self->length));
	ASSERT_EQ(0, map_file(&rig, self->fd, 0, self->length, IOVA,
			      READ_WRITE));
	EXPECT_EQ(0, locked_memory());
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-mock_device(&rig, &stdev, &device));
	ASSERT_EQ(0, child_rc(pid));
	EXPECT_EQ(self->length / 1024, locked_memory());
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-unmap(&rig, IOVA, self->length));
	ASSERT_EQ(0, child_rc(pid));
	EXPECT_EQ(0, locked_memory());
	EXPECT_FILE_IS_FREE();
}

/* Files of huge pages: which of them are there, and whose they are */

FIXTURE(huge_file)
{
	struct rig rig;
	int fd;
};

FIXTURE_SETUP(huge_file)
{
	ASSERT_EQ(0, open_rig(&self->rig));
	self->fd = make_memfd(2 * HUGE_SIZE, MFD_HUGETLB);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(huge_file)
{
	check_all_gone(_metadata, &self->rig);
}

TEST_F(huge_file, needs_no_mmap)
{
	/* None is reserved, nor will be after it */
	EXPECT_EQ(free_huge_pages, huge_pages());
	ASSERT_EQ(0, map_file(&self->rig, self->fd, HUGE_SIZE + PAGE_SIZE,
			      PAGE_SIZE, IOVA, READ_WRITE));
	EXPECT_EQ(free_huge_pages - 1, huge_pages());
	EXPECT_LE(0, read_meminfo("HugePages_Rsvd"));
	ASSERT_EQ(0, unmap(&self->rig, IOVA, PAGE_SIZE));
	/* It is the file's now */
	EXPECT_EQ(free_huge_pages - 1, huge_pages());
	close(self->fd);
	EXPECT_EQ(free_huge_pages, huge_pages());
}

TEST_F(huge_file, takes_what_mmap_has_reserved)
{
	void *memory = view(self->fd, 2 * HUGE_SIZE);

	EXPECT_EQ(free_huge_pages - 2, huge_pages());
	ASSERT_EQ(0, map_file(&self->rig, self->fd, 0, 2 * HUGE_SIZE, IOVA,
			      READ_WRITE));
	EXPECT_EQ(free_huge_pages - 2, huge_pages());
	EXPECT_EQ(0, check_map(&self->rig, IOVA, memory, 2 * HUGE_SIZE));
	ASSERT_EQ(0, munmap(memory, 2 * HUGE_SIZE));
	EXPECT_EQ(free_huge_pages - 2, huge_pages());
	ASSERT_EQ(0, unmap(&self->rig, IOVA, 2 * HUGE_SIZE));
	EXPECT_EQ(free_huge_pages - 2, huge_pages());
	close(self->fd);
	EXPECT_EQ(free_huge_pages, huge_pages());
}

TEST_F(huge_file, is_zero)
{
	const long pages = 4;
	char *memory = huge_memory(pages * HUGE_SIZE);
	__u64 *words;
	size_t i;

	/* What someone else has left in them */
	ASSERT_NE(NULL, memory);
	memset(memory, 0xff, pages * HUGE_SIZE);
	ASSERT_EQ(0, munmap(memory, pages * HUGE_SIZE));
	ASSERT_EQ(0, map_file(&self->rig, self->fd, 0, 2 * HUGE_SIZE, IOVA,
			      READ_WRITE));
	words = view(self->fd, 2 * HUGE_SIZE);
	for (i = 0; i < 2 * HUGE_SIZE / sizeof(*words); i++)
		ASSERT_EQ(0, words[i]);
}

TEST_F(huge_file, of_more_pages_than_there_are_ENOMEM)
{
	size_t length = (free_huge_pages + 1) * HUGE_SIZE;
	int fd = make_memfd(length, MFD_HUGETLB);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-ENOMEM, map_file(&self->rig, fd, 0, length, IOVA,
				    READ_WRITE));
	EXPECT_EQ(0, seal(fd));
	close(fd);
	EXPECT_EQ(free_huge_pages, huge_pages());
}

TEST_F(huge_file, leaves_the_pages_that_others_have_reserved)
{
	size_t length = free_huge_pages * HUGE_SIZE;
	char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	ASSERT_NE(MAP_FAILED, memory);
	EXPECT_EQ(-ENOMEM, map_file(&self->rig, self->fd, 0, 2 * HUGE_SIZE,
				    IOVA, READ_WRITE));
	/* They are all there; a SIGBUS if not */
	while (length) {
		length -= HUGE_SIZE;
		memory[length] = 1;
	}
	ASSERT_EQ(0, munmap(memory, free_huge_pages * HUGE_SIZE));
	EXPECT_EQ(0, map_file(&self->rig, self->fd, 0, 2 * HUGE_SIZE, IOVA,
			      READ_WRITE));
}

TEST_HARNESS_MAIN
