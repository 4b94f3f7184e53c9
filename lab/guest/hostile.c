// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest with a grudge does to its command queue, past its kernel:
 *
 *	hostile BLOCK QUEUE ENTRIES opcodes|overrun|garbage|doorbells|own|nothing
 *
 * BLOCK is the address of the CMDQ-V block as the guest sees it, QUEUE that of
 * the memory of its first VCMDQ, which has ENTRIES entries. It goes on until it
 * is killed, and enables the queue again when the guest's kernel has given it
 * up. "own" is what a guest may do, to its first device; "nothing" takes the
 * CPU alone, for comparison.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define VINTF_PAGE0	0x30000
#define CONS		0
#define PROD		1
#define CONFIG		2
#define STATUS		3
#define GERROR		4
#define GERRORN		5

#define CMD_ATC_INV	0x40
#define CMD_SYNC	0x46

/* The stream ID of the first device behind the guest's SMMU */
#define OWN_SID		0x900ULL

struct queue {
	volatile uint32_t *regs;
	volatile uint64_t *mem;
	uint32_t entries;
};

static void *map(int fd, uint64_t address, size_t length)
{
	void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, address);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return p;
}

static void put(struct queue *q, uint64_t cmd0, uint64_t cmd1)
{
	uint32_t prod = q->regs[PROD];
	uint32_t slot = prod & (q->entries - 1);

	q->mem[2 * slot] = cmd0;
	q->mem[2 * slot + 1] = cmd1;
	__sync_synchronize();
	q->regs[PROD] = (prod + 1) & (2 * q->entries - 1);
}

/* Acknowledge as a driver does, but let the command in error be fetched again */
static void repair(struct queue *q)
{
	uint32_t slot = q->regs[CONS] & (q->entries - 1);

	q->mem[2 * slot] = CMD_SYNC;
	q->mem[2 * slot + 1] = 0;
	__sync_synchronize();
	q->regs[GERRORN] = q->regs[GERROR];
}

/* Each opcode, and stream IDs that are not the guest's */
static void opcodes(struct queue *q)
{
	for (unsigned int opcode = 0; opcode < 256; opcode++) {
		for (uint64_t sid = 0; sid < 0x400; sid += 0x100) {
			put(q, opcode | sid << 32, 0);
			if (q->regs[GERROR] != q->regs[GERRORN])
				repair(q);
		}
	}
}

/* PROD further from CONS than the queue is long, and with all other bits */
static void overrun(struct queue *q)
{
	q->regs[PROD] = (q->regs[CONS] + q->entries + 1) & (2 * q->entries - 1);
	q->regs[PROD] = 0xffffffff;
}

static void garbage(struct queue *q)
{
	for (uint32_t i = 0; i < 2 * q->entries; i++)
		q->mem[i] = (uint64_t)rand() << 33 ^ rand();
	q->regs[PROD] = (q->regs[CONS] ^ q->entries) & (2 * q->entries - 1);
}

/* Each rings for one command */
static void doorbells(struct queue *q)
{
	for (uint32_t i = 0; i < q->entries; i++) {
		q->mem[2 * i] = CMD_SYNC;
		q->mem[2 * i + 1] = 0;
	}
	__sync_synchronize();
	for (uint32_t prod = q->regs[PROD], i = 0; i < 2 * q->entries; i++)
		q->regs[PROD] = ++prod & (2 * q->entries - 1);
}

static void own(struct queue *q)
{
	put(q, CMD_ATC_INV | OWN_SID << 32, 0);
}

static void nothing(struct queue *q)
{
}

static const struct attack {
	const char *name;
	void (*once)(struct queue *q);
} attacks[] = {
	{ "opcodes", opcodes },
	{ "overrun", overrun },
	{ "garbage", garbage },
	{ "doorbells", doorbells },
	{ "own", own },
	{ "nothing", nothing },
};

/* The guest's kernel retires a queue that has too many errors, and leaves it */
static void revive(struct queue *q)
{
	if (q->regs[STATUS] & 1) {
		if (q->regs[GERROR] != q->regs[GERRORN])
			repair(q);
		return;
	}
	q->regs[CONFIG] = 0;
	q->regs[PROD] = q->regs[CONS] & (2 * q->entries - 1);
	q->regs[GERRORN] = q->regs[GERROR];
	q->regs[CONFIG] = 1;
}

int main(int argc, char **argv)
{
	struct queue q;
	uint64_t memory;
	int fd = open("/dev/mem", O_RDWR | O_SYNC);

	if (argc != 5 || fd < 0) {
		fprintf(stderr, "usage: hostile BLOCK QUEUE ENTRIES WHAT, with /dev/mem\n");
		return 1;
	}
	memory = strtoull(argv[2], NULL, 0);
	q.entries = strtoul(argv[3], NULL, 0);
	q.regs = map(fd, strtoull(argv[1], NULL, 0) + VINTF_PAGE0, 0x1000);
	q.mem = map(fd, memory & ~0xfffULL, (memory & 0xfff) + 16 * q.entries) + (memory & 0xfff);

	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++)
		while (!strcmp(argv[4], attacks[i].name)) {
			if (attacks[i].once != nothing)
				revive(&q);
			attacks[i].once(&q);
		}
	fprintf(stderr, "hostile: \"%s\" is not among what it does\n", argv[4]);
	return 1;
}
