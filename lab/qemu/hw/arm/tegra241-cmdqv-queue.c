/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tegra241 CMDQ-V: a queue's registers and the execution of its commands
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include "qemu/osdep.h"
#include "qemu/timer.h"
#include "exec/address-spaces.h"
#include "hw/arm/tegra241-cmdqv.h"
#include "smmuv3-internal.h"

#define ENTRY_BYTES     16
#define CERROR_ILL      1
#define CERROR_ABT      2
#define CERROR_ACCESS   4

static uint32_t log2size(CmdqvQueue *q)
{
    return extract64(q->base, 0, 5);
}

/* Entries and, one above, the wrap bit */
static uint32_t wrap_mask(CmdqvQueue *q)
{
    return (2u << log2size(q)) - 1;
}

static uint32_t index_of(CmdqvQueue *q, uint32_t p)
{
    return p & (wrap_mask(q) >> 1);
}

static uint32_t distance(CmdqvQueue *q, uint32_t from, uint32_t to)
{
    return (to - from) & wrap_mask(q);
}

static bool running(CmdqvQueue *q)
{
    return (q->status & 1) && !q->stuck && q->gerror == q->gerrorn;
}

static bool fetch(CmdqvQueue *q, uint32_t p, Cmd *cmd)
{
    hwaddr addr = (q->base & MAKE_64BIT_MASK(5, 43)) +
                  index_of(q, p) * ENTRY_BYTES;
    MemTxResult r = address_space_read(&address_space_memory, addr,
                                       MEMTXATTRS_UNSPECIFIED, cmd,
                                       sizeof(*cmd));

    for (int i = 0; i < ARRAY_SIZE(cmd->word); i++) {
        le32_to_cpus(&cmd->word[i]);
    }
    return r == MEMTX_OK;
}

/* Remember what software handed over, as far as it isn't executed at once */
static void shadow_pending(CmdqvQueue *q)
{
    if (distance(q, q->cons, q->shadow_prod) >
        distance(q, q->cons, q->prod)) {
        q->shadow_prod = q->cons & wrap_mask(q);
    }
    while (q->shadow_prod != q->prod) {
        Cmd cmd;

        if (!fetch(q, q->shadow_prod, &cmd)) {
            memset(&cmd, 0, sizeof(cmd));
        }
        memcpy(q->shadow + index_of(q, q->shadow_prod) * ENTRY_BYTES, &cmd,
               ENTRY_BYTES);
        q->shadow_prod = (q->shadow_prod + 1) & wrap_mask(q);
    }
}

static void check_shadow(CmdqvQueue *q, const Cmd *cmd)
{
    uint32_t idx = index_of(q, q->cons);

    if (distance(q, q->cons, q->shadow_prod) == 0 ||
        distance(q, q->cons, q->shadow_prod) >
        distance(q, q->cons, q->prod)) {
        return;
    }
    if (idx != q->repaired &&
        memcmp(q->shadow + idx * ENTRY_BYTES, cmd, ENTRY_BYTES)) {
        cmdqv_broke(q->s, RULE_QUEUE_MEMORY_CHANGED,
                    "VCMDQ%u: entry %u changed while the block owned it",
                    q->idx, idx);
    }
}

/* What a VINTF without HYP_OWN does to a command. Returns an error code */
static uint32_t guest_filter(CmdqvQueue *q, Cmd *cmd)
{
    CmdqvVintf *v = &q->s->vintf[q->vintf];

    switch (CMD_TYPE(cmd)) {
    case SMMU_CMD_TLBI_NH_ASID:
    case SMMU_CMD_TLBI_NH_VA:
        cmd->word[1] = deposit32(cmd->word[1], 0, 16,
                                 extract32(v->config, 1, 16));
        return 0;
    case SMMU_CMD_ATC_INV:
        for (int i = 0; i < q->s->num_sids; i++) {
            if ((v->sid_match[i] & 1) &&
                extract32(v->sid_match[i], 1, 20) == CMD_SID(cmd)) {
                cmd->word[1] = v->sid_replace[i];
                return 0;
            }
        }
        return CERROR_ACCESS;
    default:
        cmdqv_broke(q->s, RULE_HYP_OWN_COMMAND,
                    "VCMDQ%u: opcode 0x%02x without HYP_OWN", q->idx,
                    CMD_TYPE(cmd));
        return CERROR_ILL;
    }
}

static uint32_t execute(CmdqvQueue *q, Cmd *cmd)
{
    if (CMD_TYPE(cmd) == SMMU_CMD_SYNC) {
        if (CMD_SYNC_CS(cmd) != CMD_SYNC_SIG_NONE) {
            cmdqv_broke(q->s, RULE_SYNC_SIGNAL,
                        "VCMDQ%u: CMD_SYNC with CS=%u", q->idx,
                        CMD_SYNC_CS(cmd));
            return CERROR_ILL;
        }
        return 0;
    }

    if (!(q->s->vintf[q->vintf].config & VINTF_HYP_OWN)) {
        uint32_t code = guest_filter(q, cmd);

        if (code) {
            return code;
        }
    }

    return smmuv3_execute_cmd(q->s->smmu, cmd->word);
}

/* Returns false where the queue stops */
static bool execute_one(CmdqvQueue *q)
{
    uint32_t code = cmdqv_fault_command(q);
    Cmd cmd;

    if (q->stuck) {
        return false;
    }
    if (!code && !fetch(q, q->cons, &cmd)) {
        code = CERROR_ABT;
    }
    if (!code) {
        check_shadow(q, &cmd);
        code = execute(q, &cmd);
    }
    q->dirty = true;
    if (code) {
        q->repaired = index_of(q, q->cons);
        cmdqv_raise(q, VCMDQ_GERROR_CMD, code);
        return false;
    }

    memcpy(q->last, cmd.word, sizeof(q->last));
    q->count.commands[CMD_TYPE(&cmd)]++;
    if (index_of(q, q->cons) == q->repaired) {
        q->repaired = ~0;
    }
    if (q->shadow_prod == (q->cons & wrap_mask(q))) {
        q->shadow_prod = (q->cons + 1) & wrap_mask(q);
    }
    /* An acknowledged error code stays: nobody says that it goes */
    q->cons = (q->cons & 0x7f000000) | ((q->cons + 1) & wrap_mask(q));
    return true;
}

static void consume(CmdqvQueue *q)
{
    if (q->s->async) {
        shadow_pending(q);
        if (running(q) && distance(q, q->cons, q->prod)) {
            timer_mod(q->timer, qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                      q->s->delay_ns);
        }
        return;
    }

    while (running(q) && distance(q, q->cons, q->prod)) {
        if (!execute_one(q)) {
            break;
        }
    }
    if (distance(q, q->cons, q->prod)) {
        shadow_pending(q);
    }
}

void cmdqv_queue_timer(void *opaque)
{
    CmdqvQueue *q = opaque;

    if (running(q) && distance(q, q->cons, q->prod)) {
        execute_one(q);
        consume(q);
    }
}

static bool base_is_valid(CmdqvQueue *q)
{
    Tegra241CmdqvState *s = q->s;
    uint64_t addr = q->base & MAKE_64BIT_MASK(5, 43);

    if (!q->base) {
        cmdqv_broke(s, RULE_BASE_ZERO, "VCMDQ%u: enabled with BASE 0", q->idx);
        return false;
    }
    if (log2size(q) > FIELD_EX32(s->smmu->idr[1], IDR1, CMDQS)) {
        cmdqv_broke(s, RULE_BASE_OVERSIZE, "VCMDQ%u: 2^%u entries", q->idx,
                    log2size(q));
        return false;
    }
    if (addr & (((uint64_t)ENTRY_BYTES << log2size(q)) - 1)) {
        cmdqv_broke(s, RULE_BASE_MISALIGNED, "VCMDQ%u: BASE 0x%" PRIx64,
                    q->idx, q->base);
        return false;
    }
    return true;
}

static void enable(CmdqvQueue *q)
{
    if (!q->mapped || !(q->s->vintf[q->vintf].status & 1)) {
        cmdqv_broke(q->s, RULE_ENABLE_UNMAPPED,
                    "VCMDQ%u: enabled without an enabled VINTF", q->idx);
        return;
    }
    if (cmdqv_fault_blocks(q->s, "no-enable", "vcmdq", q->idx)) {
        return;
    }
    q->status = 1;
    if (!base_is_valid(q)) {
        cmdqv_raise(q, BIT(2), 0);
        return;
    }

    g_free(q->shadow);
    q->shadow = g_malloc((size_t)ENTRY_BYTES << log2size(q));
    q->shadow_prod = q->cons & wrap_mask(q);
    q->repaired = ~0;
    consume(q);
}

void cmdqv_queue_stop(CmdqvQueue *q)
{
    q->status = 0;
    q->stuck = false;
    timer_del(q->timer);
}

static void write_config(CmdqvQueue *q, uint32_t val)
{
    bool was = q->config & 1;

    q->config = val & 1;
    if (q->config && !was) {
        enable(q);
    } else if (!q->config && was &&
               !cmdqv_fault_blocks(q->s, "no-disable", "vcmdq", q->idx)) {
        cmdqv_queue_stop(q);
    }
}

static void write_prod(CmdqvQueue *q, uint32_t val)
{
    if (!(q->status & 1)) {
        q->prod = val & 0xfffff;
        return;
    }
    if (distance(q, q->cons, val) > 1u << log2size(q) ||
        (val & ~wrap_mask(q))) {
        cmdqv_broke(q->s, RULE_PROD_OVERRUN,
                    "VCMDQ%u: PROD 0x%x with CONS 0x%x and 2^%u entries",
                    q->idx, val, q->cons, log2size(q));
        return;
    }
    q->prod = val;
    consume(q);
}

uint64_t cmdqv_queue_read(CmdqvQueue *q, hwaddr reg)
{
    q->count.used = true;
    q->count.reads++;

    switch (reg) {
    case 0x00:
        return q->cons;
    case 0x04:
        return q->prod;
    case 0x08:
        return q->config;
    case 0x0c:
        return q->status;
    case 0x10:
        return q->gerror;
    case 0x14:
        return q->gerrorn;
    default:
        return 0;
    }
}

void cmdqv_queue_write(CmdqvQueue *q, hwaddr reg, uint32_t val)
{
    q->count.used = true;
    q->count.writes++;

    switch (reg) {
    case 0x00:
        if (q->status & 1) {
            cmdqv_broke(q->s, RULE_CONS_WHILE_ENABLED,
                        "VCMDQ%u: CONS written while enabled", q->idx);
            return;
        }
        q->cons = val & 0x7f0fffff;
        break;
    case 0x04:
        write_prod(q, val);
        break;
    case 0x08:
        write_config(q, val);
        break;
    case 0x14:
        q->gerrorn = val & 7;
        if (q->status & 1) {
            consume(q);
        }
        break;
    default:
        cmdqv_broke(q->s, RULE_RESERVED, "VCMDQ%u: write to page 0 + 0x%x",
                    q->idx, (unsigned)reg);
    }
}

void cmdqv_queue_write_page1(CmdqvQueue *q, hwaddr reg, uint64_t val,
                             unsigned size)
{
    uint64_t *r = reg < 0x08 ? &q->base : &q->cons_base;

    if (reg >= 0x10) {
        cmdqv_broke(q->s, RULE_RESERVED, "VCMDQ%u: write to page 1 + 0x%x",
                    q->idx, (unsigned)reg);
        return;
    }
    if (q->status & 1) {
        cmdqv_broke(q->s, RULE_BASE_WHILE_ENABLED,
                    "VCMDQ%u: BASE written while enabled", q->idx);
        return;
    }
    *r = size == 8 ? val : deposit64(*r, (reg & 4) * 8, 32, val);
    *r &= MAKE_64BIT_MASK(0, 48);
}
