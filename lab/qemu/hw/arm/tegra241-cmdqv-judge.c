/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tegra241 CMDQ-V: the rules that software broke, counters, the report
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include "qemu/osdep.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qobject.h"
#include "qobject/qstring.h"
#include "hw/arm/tegra241-cmdqv.h"
#include "smmuv3-internal.h"

static const char *const rule_names[RULE_COUNT] = {
    [RULE_MAP_ORDER] = "map-order",
    [RULE_UNMAP_ORDER] = "unmap-order",
    [RULE_ALLOC_WHILE_ENABLED] = "alloc-while-enabled",
    [RULE_DIRTY_UNMAP] = "dirty-unmap",
    [RULE_NO_FLUSH] = "no-flush",
    [RULE_ENABLE_UNMAPPED] = "enable-unmapped",
    [RULE_BASE_ZERO] = "base-zero",
    [RULE_BASE_OVERSIZE] = "base-oversize",
    [RULE_BASE_MISALIGNED] = "base-misaligned",
    [RULE_BASE_WHILE_ENABLED] = "base-while-enabled",
    [RULE_CONS_WHILE_ENABLED] = "prod-cons-while-enabled",
    [RULE_PROD_OVERRUN] = "prod-overrun",
    [RULE_QUEUE_MEMORY_CHANGED] = "queue-memory-changed",
    [RULE_SYNC_SIGNAL] = "sync-signal",
    [RULE_HYP_OWN_COMMAND] = "hyp-own-command",
    [RULE_HYP_OWN_CHANGED] = "hyp-own-changed",
    [RULE_VMID_CHANGED] = "vmid-changed",
    [RULE_VINTF_CONFIG_ORDER] = "vintf-config-order",
    [RULE_VINTF_WITH_QUEUES] = "vintf-with-queues",
    [RULE_SID_ORDER] = "sid-order",
    [RULE_CONFIG_FIELDS] = "config-fields",
    [RULE_WIDE_ACCESS] = "wide-access",
    [RULE_RESERVED] = "reserved",
    [RULE_FETCH_SMMU_OFF] = "fetch-smmu-off",
};

void cmdqv_broke(Tegra241CmdqvState *s, CmdqvRule rule, const char *fmt, ...)
{
    if (!s->broken[rule]++) {
        va_list ap;

        va_start(ap, fmt);
        s->first[rule] = g_strdup_vprintf(fmt, ap);
        va_end(ap);
    }
}

const char *cmdqv_opcode_name(uint8_t opcode)
{
    const char *name = smmu_cmd_string(opcode);

    return !strncmp(name, "SMMU_CMD_", 9) ? name + 9 : name;
}

/* What the SMMU's own queue does */

static void observe_command(void *opaque, uint8_t opcode)
{
    Tegra241CmdqvState *s = opaque;

    s->smmu_count.commands[opcode]++;
    if (opcode == SMMU_CMD_SYNC) {
        /* It completes what disabled queues left outstanding */
        for (int i = 0; i < s->num_vcmdqs; i++) {
            if (!(s->q[i].status & 1)) {
                s->q[i].dirty = false;
            }
        }
    }
}

static bool observe_execute(void *opaque, uint8_t opcode)
{
    return !cmdqv_fault_drops(opaque, opcode);
}

static void observe_cr0(Tegra241CmdqvState *s, uint32_t old, uint32_t val)
{
    uint32_t falls = old & ~val & (R_CR0_SMMU_ENABLE_MASK | R_CR0_CMDQEN_MASK);

    for (int i = 0; falls && i < s->num_vcmdqs; i++) {
        if (s->q[i].status & 1) {
            cmdqv_broke(s, RULE_FETCH_SMMU_OFF,
                        "VCMDQ%u is enabled while CR0 goes from 0x%x to 0x%x",
                        i, old, val);
        }
    }
}

static void observe_access(void *opaque, hwaddr offset, bool write,
                           uint64_t val)
{
    Tegra241CmdqvState *s = opaque;

    if (offset == A_CR0 && write) {
        observe_cr0(s, s->smmu->cr[0], val);
    } else if (offset == A_CMDQ_PROD || offset == A_CMDQ_CONS) {
        s->smmu_count.reads += !write;
        s->smmu_count.writes += write;
    }
}

static void observe_error(void *opaque)
{
    Tegra241CmdqvState *s = opaque;

    s->smmu_count.errors++;
}

const SMMUv3Observer cmdqv_smmu_observer = {
    .command = observe_command,
    .execute = observe_execute,
    .access = observe_access,
    .error = observe_error,
};

void cmdqv_judge_init(Tegra241CmdqvState *s)
{
    s->smmu->observer = &cmdqv_smmu_observer;
    s->smmu->observer_opaque = s;
}

void cmdqv_judge_reset(Tegra241CmdqvState *s)
{
    for (int i = 0; i < RULE_COUNT; i++) {
        s->broken[i] = 0;
        g_clear_pointer(&s->first[i], g_free);
    }
    for (int i = 0; i < CMDQV_MAX_VCMDQS; i++) {
        s->q[i].count = (CmdqvCounters){};
    }
    for (int i = 0; i < CMDQV_MAX_VINTFS; i++) {
        memset(s->vintf[i].accesses, 0, sizeof(s->vintf[i].accesses));
    }
    s->smmu_count = (CmdqvCounters){};
    memset(s->direct_accesses, 0, sizeof(s->direct_accesses));
    s->config_accesses = s->unmapped = s->interrupts = 0;
}

/* The report */

static QDict *report_counters(const CmdqvCounters *c)
{
    QDict *queue = qdict_new(), *commands = qdict_new();
    uint64_t total = 0;

    for (int i = 0; i < ARRAY_SIZE(c->commands); i++) {
        g_autofree char *number = g_strdup_printf("0x%02x", i);
        const char *name = cmdqv_opcode_name(i);

        if (c->commands[i]) {
            qdict_put_int(commands, strcmp(name, "INVALID") ? name : number,
                          c->commands[i]);
            total += c->commands[i];
        }
    }
    qdict_put(queue, "commands", commands);
    qdict_put_int(queue, "total", total);
    qdict_put_int(queue, "syncs", c->commands[SMMU_CMD_SYNC]);
    qdict_put_int(queue, "errors", c->errors);
    qdict_put_int(queue, "mmio_reads", c->reads);
    qdict_put_int(queue, "mmio_writes", c->writes);
    return queue;
}

static QDict *report_queue(CmdqvQueue *q)
{
    QDict *queue = report_counters(&q->count);
    CmdqvVintf *v = &q->s->vintf[q->vintf];
    g_autofree char *name = g_strdup_printf("vcmdq%u", q->idx);
    g_autofree char *last = g_strdup_printf("%08x %08x %08x %08x", q->last[0],
                                            q->last[1], q->last[2],
                                            q->last[3]);

    qdict_put_str(queue, "name", name);
    qdict_put_bool(queue, "enabled", q->status & 1);
    qdict_put_int(queue, "vintf", q->vintf);
    qdict_put_int(queue, "lvcmdq", q->lidx);
    qdict_put_int(queue, "vmid", extract32(v->config, 1, 16));
    qdict_put_str(queue, "last", last);
    return queue;
}

static QList *report_rules(Tegra241CmdqvState *s)
{
    QList *rules = qlist_new();

    for (int i = 0; i < RULE_COUNT; i++) {
        QDict *rule;

        if (!s->broken[i]) {
            continue;
        }
        rule = qdict_new();
        qdict_put_str(rule, "rule", rule_names[i]);
        qdict_put_int(rule, "count", s->broken[i]);
        qdict_put_str(rule, "first", s->first[i]);
        qlist_append(rules, rule);
    }
    return rules;
}

static QList *report_queues(Tegra241CmdqvState *s)
{
    QList *queues = qlist_new();
    QDict *smmu = report_counters(&s->smmu_count);

    qdict_put_str(smmu, "name", "smmu");
    qlist_append(queues, smmu);
    for (int i = 0; i < s->num_vcmdqs; i++) {
        if (s->q[i].count.used || s->q[i].mapped) {
            qlist_append(queues, report_queue(&s->q[i]));
        }
    }
    return queues;
}

static QDict *report_mmio(Tegra241CmdqvState *s)
{
    QDict *mmio = qdict_new();

    qdict_put_int(mmio, "config", s->config_accesses);
    for (int page = 0; page < 2; page++) {
        g_autofree char *direct = g_strdup_printf("direct%d", page);

        qdict_put_int(mmio, direct, s->direct_accesses[page]);
        for (int i = 0; i < s->num_vintfs; i++) {
            g_autofree char *name = g_strdup_printf("vintf%d_page%d", i, page);

            if (s->vintf[i].accesses[page]) {
                qdict_put_int(mmio, name, s->vintf[i].accesses[page]);
            }
        }
    }
    return mmio;
}

char *cmdqv_report(Tegra241CmdqvState *s)
{
    g_autoptr(QDict) report = qdict_new();
    QList *vintfs = qlist_new(), *allocated = qlist_new();
    g_autoptr(GString) json = NULL;
    unsigned int sids = 0;

    for (int i = 0; i < s->num_vintfs; i++) {
        if (s->vintf[i].status) {
            qlist_append_int(vintfs, i);
        }
        for (int j = 0; j < CMDQV_MAX_SIDS; j++) {
            sids += s->vintf[i].sid_match[j] & 1;
        }
    }
    for (int i = 0; i < s->num_vcmdqs; i++) {
        if (s->q[i].mapped) {
            qlist_append_int(allocated, i);
        }
    }
    qdict_put(report, "rules", report_rules(s));
    qdict_put(report, "queues", report_queues(s));
    qdict_put(report, "mmio", report_mmio(s));
    qdict_put_int(report, "unmapped", s->unmapped);
    qdict_put_int(report, "interrupts", s->interrupts);
    qdict_put_bool(report, "enabled", s->status & 1);
    qdict_put(report, "vintfs_enabled", vintfs);
    qdict_put(report, "allocated", allocated);
    qdict_put_int(report, "sids", sids);

    json = qobject_to_json(QOBJECT(report));
    return g_strdup(json->str);
}
