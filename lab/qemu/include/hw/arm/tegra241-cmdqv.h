/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model of the command-queue virtualization block (CMDQ-V) beside the
 * SMMUv3s of NVIDIA Tegra241 (Grace)
 *
 * Copyright (C) 2026 The grace-lab developers
 *
 * The block executes its commands on QEMU's own SMMUv3, counts them, and keeps
 * a list of the rules of the hardware that software broke. Faults are injected
 * through a QOM property.
 */
#ifndef HW_ARM_TEGRA241_CMDQV_H
#define HW_ARM_TEGRA241_CMDQV_H

#include "hw/arm/smmuv3.h"
#include "hw/sysbus.h"
#include "qobject/qdict.h"
#include "qemu/bitops.h"
#include "qom/object.h"

#define TYPE_TEGRA241_CMDQV "tegra241-cmdqv"
OBJECT_DECLARE_SIMPLE_TYPE(Tegra241CmdqvState, TEGRA241_CMDQV)

#define CMDQV_MAX_VINTFS    64
#define CMDQV_MAX_VCMDQS    128
#define CMDQV_MAX_SIDS      16
#define CMDQV_PAGE_SIZE     0x10000
#define CMDQV_VINTF_PAGES   0x30000
#define CMDQV_VINTF_STRIDE  0x20000

#define VINTF_EN            BIT(0)
#define VINTF_HYP_OWN       BIT(17)

#define VCMDQ_GERROR_CMD    BIT(0)

#define CMDQV_ALL           -1

/* What software must not do; the names are in tegra241-cmdqv-judge.c */
typedef enum CmdqvRule {
    RULE_MAP_ORDER,
    RULE_UNMAP_ORDER,
    RULE_ALLOC_WHILE_ENABLED,
    RULE_DIRTY_UNMAP,
    RULE_NO_FLUSH,
    RULE_ENABLE_UNMAPPED,
    RULE_BASE_ZERO,
    RULE_BASE_OVERSIZE,
    RULE_BASE_MISALIGNED,
    RULE_BASE_WHILE_ENABLED,
    RULE_CONS_WHILE_ENABLED,
    RULE_PROD_OVERRUN,
    RULE_QUEUE_MEMORY_CHANGED,
    RULE_SYNC_SIGNAL,
    RULE_HYP_OWN_COMMAND,
    RULE_HYP_OWN_CHANGED,
    RULE_VMID_CHANGED,
    RULE_VINTF_CONFIG_ORDER,
    RULE_VINTF_WITH_QUEUES,
    RULE_SID_ORDER,
    RULE_CONFIG_FIELDS,
    RULE_WIDE_ACCESS,
    RULE_RESERVED,
    RULE_FETCH_SMMU_OFF,
    RULE_COUNT,
} CmdqvRule;

typedef struct CmdqvCounters {
    uint64_t commands[256];
    uint64_t errors;
    uint64_t reads;
    uint64_t writes;
    bool used;
} CmdqvCounters;

typedef struct CmdqvQueue {
    Tegra241CmdqvState *s;
    uint32_t idx;

    uint32_t cons, prod, config, status, gerror, gerrorn;
    uint64_t base, cons_base;

    bool mapped;
    uint32_t alloc;             /* the ALLOC register */
    uint32_t vintf, lidx;       /* valid while mapped */

    bool dirty;                 /* executed commands since it was mapped */
    bool stuck;
    uint8_t *shadow;            /* what the entries held at the PROD write */
    uint32_t shadow_prod;       /* it is valid from CONS up to here */
    uint32_t repaired;          /* the entry that may change, or ~0 */

    QEMUTimer *timer;
    uint32_t last[4];           /* as executed */
    CmdqvCounters count;
} CmdqvQueue;

typedef struct CmdqvVintf {
    uint32_t config, status;
    uint32_t sid_match[CMDQV_MAX_SIDS];
    uint32_t sid_replace[CMDQV_MAX_SIDS];
    uint8_t queue[CMDQV_MAX_VCMDQS];    /* global by logical index */
    uint32_t mapped;
    uint64_t accesses[2];
} CmdqvVintf;

typedef struct CmdqvFault CmdqvFault;

struct Tegra241CmdqvState {
    SysBusDevice parent_obj;
    MemoryRegion mmio;
    qemu_irq irq;
    SMMUv3State *smmu;

    uint32_t num_vintfs, num_vcmdqs, num_sids;
    bool has_irq;
    bool hyp_own;
    char *crs;
    char *consume;
    bool async;
    uint64_t delay_ns;

    uint32_t config, status;
    uint64_t int_mask;
    CmdqvVintf vintf[CMDQV_MAX_VINTFS];
    CmdqvQueue q[CMDQV_MAX_VCMDQS];

    CmdqvCounters smmu_count;
    uint64_t config_accesses, direct_accesses[2];
    uint64_t unmapped;
    uint64_t interrupts;
    uint64_t broken[RULE_COUNT];
    char *first[RULE_COUNT];

    GSList *faults;
    uint32_t param_override;
    bool param_overridden;
    bool no_irq;
    uint64_t lose_irqs;
};

/* tegra241-cmdqv.c: the registers */
uint32_t cmdqv_size(Tegra241CmdqvState *s);
void cmdqv_raise(CmdqvQueue *q, uint32_t bits, uint32_t code);
void cmdqv_interrupt(Tegra241CmdqvState *s);

/* tegra241-cmdqv-queue.c: the execution of commands */
uint64_t cmdqv_queue_read(CmdqvQueue *q, hwaddr reg);
void cmdqv_queue_write(CmdqvQueue *q, hwaddr reg, uint32_t val);
void cmdqv_queue_write_page1(CmdqvQueue *q, hwaddr reg, uint64_t val,
                             unsigned size);
void cmdqv_queue_stop(CmdqvQueue *q);
void cmdqv_queue_timer(void *opaque);

/* tegra241-cmdqv-judge.c: rules, counters, the report */
void cmdqv_broke(Tegra241CmdqvState *s, CmdqvRule rule, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);
void cmdqv_judge_init(Tegra241CmdqvState *s);
void cmdqv_judge_reset(Tegra241CmdqvState *s);
char *cmdqv_report(Tegra241CmdqvState *s);
const char *cmdqv_opcode_name(uint8_t opcode);
extern const SMMUv3Observer cmdqv_smmu_observer;

/* tegra241-cmdqv-fault.c: faults on demand */
void cmdqv_inject(Tegra241CmdqvState *s, const char *json, Error **errp);
void cmdqv_faults_clear(Tegra241CmdqvState *s);
uint32_t cmdqv_fault_command(CmdqvQueue *q);
bool cmdqv_fault_blocks(Tegra241CmdqvState *s, const char *fault,
                        const char *what, uint32_t index);
bool cmdqv_fault_drops(Tegra241CmdqvState *s, uint8_t opcode);

#endif
