/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the model of Tegra241's CMDQ-V block
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "libqtest.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"

#define BLOCK           0x0c000000      /* the platform bus of virt */
#define CONFIG          (BLOCK + 0x0000)
#define PARAM           (BLOCK + 0x0004)
#define STATUS          (BLOCK + 0x0008)
#define VINTF_ERR_MAP   (BLOCK + 0x0014)
#define VINTF_INT_MASK  (BLOCK + 0x001c)
#define CMDQ_ERR_MAP    (BLOCK + 0x0024)
#define ALLOC(q)        (BLOCK + 0x0200 + 4 * (q))
#define VINTF(v)        (BLOCK + 0x1000 + 0x100 * (v))
#define V_CONFIG        0x00
#define V_STATUS        0x04
#define V_SID_MATCH(s)  (0x40 + 4 * (s))
#define V_SID_REPL(s)   (0x80 + 4 * (s))
#define V_ERR_MAP(m)    (0xc0 + 4 * (m))
#define DIRECT0(q)      (BLOCK + 0x10000 + 0x80 * (q))
#define DIRECT1(q)      (BLOCK + 0x20000 + 0x80 * (q))
#define VIEW0(v, l)     (BLOCK + 0x30000 + 0x20000 * (v) + 0x80 * (l))
#define VIEW1(v, l)     (VIEW0(v, l) + 0x10000)
#define Q_CONS          0x00
#define Q_PROD          0x04
#define Q_CONFIG        0x08
#define Q_STATUS        0x0c
#define Q_GERROR        0x10
#define Q_GERRORN       0x14

#define HYP_OWN         BIT(17)

#define OP_CFGI_ALL     0x04
#define OP_TLBI_NH_VA   0x12
#define OP_ATC_INV      0x40
#define OP_SYNC         0x46

#define RAM             0x40000000
#define LOG2            3               /* queues of eight entries */
#define QUEUE(q)        (RAM + 0x10000 * (q))

#define SMMU            0x09050000
#define SMMU_CR0        (SMMU + 0x20)
#define SMMU_CMDQ_BASE  (SMMU + 0x90)
#define SMMU_CMDQ_PROD  (SMMU + 0x98)
#define SMMU_QUEUE      (RAM + 0x1000000)

static QTestState *start(const char *props)
{
    return qtest_initf("-M virt,iommu=smmuv3,gic-version=3 -nic none "
                       "-device tegra241-cmdqv,id=cmdqv%s", props);
}

static QDict *report(QTestState *t)
{
    QDict *rsp = qtest_qmp(t, "{'execute': 'qom-get', 'arguments': {"
                           "'path': '/machine/peripheral/cmdqv',"
                           "'property': 'report'}}");
    QDict *r = qobject_to(QDict,
                          qobject_from_json(qdict_get_str(rsp, "return"),
                                            &error_abort));

    qobject_unref(rsp);
    return r;
}

static void inject(QTestState *t, const char *json)
{
    qtest_qmp_assert_success(t, "{'execute': 'qom-set', 'arguments': {"
                             "'path': '/machine/peripheral/cmdqv',"
                             "'property': 'inject', 'value': %s}}", json);
}

/* How often a rule was broken */
static int broken(QTestState *t, const char *name)
{
    g_autoptr(QDict) r = report(t);
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(r, "rules"), e) {
        QDict *rule = qobject_to(QDict, qlist_entry_obj(e));

        if (!strcmp(qdict_get_str(rule, "rule"), name)) {
            return qdict_get_int(rule, "count");
        }
    }
    return 0;
}

static void no_rule_broken(QTestState *t)
{
    g_autoptr(QDict) r = report(t);
    QList *rules = qdict_get_qlist(r, "rules");

    if (!qlist_empty(rules)) {
        g_autoptr(GString) json = qobject_to_json(QOBJECT(rules));

        g_error("%s", json->str);
    }
}

static QDict *queue_report(QDict *r, const char *name)
{
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(r, "queues"), e) {
        QDict *q = qobject_to(QDict, qlist_entry_obj(e));

        if (!strcmp(qdict_get_str(q, "name"), name)) {
            return q;
        }
    }
    g_assert_not_reached();
}

/* What the queue executed last, as software would have had to write it */
static void assert_last(QTestState *t, const char *name, const char *words)
{
    g_autoptr(QDict) r = report(t);

    g_assert_cmpstr(qdict_get_str(queue_report(r, name), "last"), ==, words);
}

static int interrupts(QTestState *t)
{
    g_autoptr(QDict) r = report(t);

    return qdict_get_int(r, "interrupts");
}

static void enable_block(QTestState *t)
{
    qtest_writel(t, CONFIG, qtest_readl(t, CONFIG) | 1);
}

static void enable_vintf(QTestState *t, int v, uint32_t config)
{
    qtest_writel(t, VINTF(v) + V_CONFIG, config);
    qtest_writel(t, VINTF(v) + V_CONFIG, config | 1);
}

static void map_queue(QTestState *t, int q, int v, int l)
{
    qtest_writel(t, ALLOC(q), v << 15 | l << 1 | 1);
}

static void enable_queue(QTestState *t, int q)
{
    qtest_writeq(t, DIRECT1(q), QUEUE(q) | LOG2);
    qtest_writel(t, DIRECT0(q) + Q_CONFIG, 1);
}

/* The block with VCMDQ 0 to 3 in VINTF 0 */
static QTestState *start_queues(const char *props, uint32_t vintf_config)
{
    QTestState *t = start(props);

    enable_block(t);
    enable_vintf(t, 0, vintf_config);
    for (int q = 0; q < 4; q++) {
        map_queue(t, q, 0, q);
        enable_queue(t, q);
    }
    return t;
}

static void put(QTestState *t, int q, uint32_t entry, uint64_t w0, uint64_t w1)
{
    qtest_writeq(t, QUEUE(q) + 16 * (entry % 8), w0);
    qtest_writeq(t, QUEUE(q) + 16 * (entry % 8) + 8, w1);
}

static void submit(QTestState *t, int q, uint32_t entry, uint64_t w0,
                   uint64_t w1)
{
    put(t, q, entry, w0, w1);
    qtest_writel(t, DIRECT0(q) + Q_PROD, (entry + 1) % 16);
}

static uint32_t cons(QTestState *t, int q)
{
    return qtest_readl(t, DIRECT0(q) + Q_CONS);
}

static void acknowledge(QTestState *t, int q)
{
    qtest_writel(t, DIRECT0(q) + Q_GERRORN,
                 qtest_readl(t, DIRECT0(q) + Q_GERROR));
}

/* Registers */

static void test_param_tells_the_shape(void)
{
    QTestState *t = start("");

    g_assert_cmphex(qtest_readl(t, PARAM), ==, 0x4671);
    qtest_quit(t);

    t = start(",vintfs=1,vcmdqs=2,sid-slots=4");
    g_assert_cmphex(qtest_readl(t, PARAM), ==, 0x2011);
    qtest_quit(t);
}

static void test_status_follows_enable(void)
{
    QTestState *t = start("");

    g_assert_cmphex(qtest_readl(t, STATUS), ==, 0);
    enable_block(t);
    g_assert_cmphex(qtest_readl(t, STATUS), ==, 1);
    g_assert_cmphex(qtest_readl(t, CONFIG), ==, 0x20083);
    enable_vintf(t, 3, HYP_OWN);
    g_assert_cmphex(qtest_readl(t, VINTF(3) + V_STATUS), ==, 1);
    map_queue(t, 9, 3, 0);
    enable_queue(t, 9);
    g_assert_cmphex(qtest_readl(t, DIRECT0(9) + Q_STATUS), ==, 1);
    g_assert_cmphex(qtest_readl(t, VINTF(3) + V_STATUS), ==, 0x10001);
    no_rule_broken(t);
    qtest_quit(t);
}

static void test_views_show_the_same_registers(void)
{
    QTestState *t = start("");

    enable_block(t);
    enable_vintf(t, 5, HYP_OWN);
    map_queue(t, 100, 5, 0);
    map_queue(t, 7, 5, 1);
    qtest_writel(t, VIEW0(5, 1) + Q_PROD, 0x5);
    g_assert_cmphex(qtest_readl(t, DIRECT0(7) + Q_PROD), ==, 0x5);
    qtest_writeq(t, DIRECT1(100), 0x123456003);
    g_assert_cmphex(qtest_readq(t, VIEW1(5, 0)), ==, 0x123456003);
    g_assert_cmphex(qtest_readl(t, VIEW1(5, 0) + 4), ==, 0x1);
    qtest_quit(t);
}

static void test_unmapped_slot_reads_zero_and_drops_writes(void)
{
    g_autoptr(QDict) r = NULL;
    QTestState *t = start("");

    enable_block(t);
    qtest_writel(t, VIEW0(1, 0) + Q_PROD, 5);
    g_assert_cmphex(qtest_readl(t, VIEW0(1, 0) + Q_PROD), ==, 0);
    r = report(t);
    g_assert_cmpint(qdict_get_int(r, "unmapped"), ==, 2);
    no_rule_broken(t);
    qtest_quit(t);
}

static void test_block_disable_forgets_mappings(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    qtest_writel(t, CONFIG, 0x20082);
    g_assert_cmphex(qtest_readl(t, STATUS), ==, 0);
    enable_block(t);
    g_assert_cmphex(qtest_readl(t, VINTF(0) + V_STATUS), ==, 0);
    g_assert_cmphex(qtest_readl(t, ALLOC(0)), ==, 0);
    g_assert_cmphex(qtest_readq(t, DIRECT1(0)), ==, QUEUE(0) | LOG2);
    qtest_quit(t);
}

/* Execution */

static void test_queue_wraps_around(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    for (int i = 0; i < 40; i++) {
        submit(t, 1, i, i & 1 ? OP_SYNC : OP_CFGI_ALL, 31);
        g_assert_cmphex(cons(t, 1), ==, (i + 1) % 16);
    }
    no_rule_broken(t);
    qtest_quit(t);
}

static void test_commands_are_counted_by_queue_and_opcode(void)
{
    g_autoptr(QDict) r = NULL;
    QTestState *t = start_queues("", HYP_OWN);
    QDict *q;

    submit(t, 2, 0, OP_TLBI_NH_VA, 0);
    submit(t, 2, 1, OP_TLBI_NH_VA, 0);
    submit(t, 2, 2, OP_SYNC, 0);
    r = report(t);
    q = queue_report(r, "vcmdq2");
    g_assert_cmpint(qdict_get_int(q, "total"), ==, 3);
    g_assert_cmpint(qdict_get_int(q, "syncs"), ==, 1);
    g_assert_cmpint(qdict_get_int(qdict_get_qdict(q, "commands"),
                                  "TLBI_NH_VA"), ==, 2);
    qtest_quit(t);
}

static void test_async_queue_executes_later(void)
{
    QTestState *t = start_queues(",consume=async,delay-ns=1000", HYP_OWN);

    put(t, 0, 0, OP_TLBI_NH_VA, 0);
    submit(t, 0, 1, OP_SYNC, 0);
    g_assert_cmphex(cons(t, 0), ==, 0);
    qtest_clock_step(t, 1000);
    g_assert_cmphex(cons(t, 0), ==, 1);
    qtest_clock_step(t, 1000);
    g_assert_cmphex(cons(t, 0), ==, 2);
    no_rule_broken(t);
    qtest_quit(t);
}

static void test_guest_queue_takes_invalidations_only(void)
{
    QTestState *t = start_queues("", 0);
    int refused = 0;

    for (int op = 0; op < 256; op++) {
        bool takes = op == 0x11 || op == OP_TLBI_NH_VA || op == OP_SYNC;

        if (op == OP_ATC_INV) {
            takes = true;
            qtest_writel(t, VINTF(0) + V_SID_REPL(0), 0);
            qtest_writel(t, VINTF(0) + V_SID_MATCH(0), 1);
        }
        submit(t, 0, op, op, 0);
        if (!takes) {
            g_assert_cmphex(cons(t, 0), ==, 0x01000000 | op % 16);
            refused++;
            put(t, 0, op, OP_SYNC, 0);
            acknowledge(t, 0);
        }
        g_assert_cmphex(cons(t, 0) & 0xfffff, ==, (op + 1) % 16);
        g_assert_cmpint(broken(t, "hyp-own-command"), ==, refused);
    }
    g_assert_cmpint(refused, ==, 252);
    qtest_quit(t);
}

static void test_guest_invalidation_gets_the_vmid_of_its_vintf(void)
{
    QTestState *t = start_queues("", 0x1234 << 1);

    submit(t, 0, 0, OP_TLBI_NH_VA | 0x00070099ull << 32, 0x5000);
    assert_last(t, "vcmdq0", "00000012 00071234 00005000 00000000");
    qtest_quit(t);
}

static void test_guest_stream_id_is_replaced(void)
{
    QTestState *t = start_queues("", 0);

    qtest_writel(t, VINTF(0) + V_SID_REPL(15), 0x4321);
    qtest_writel(t, VINTF(0) + V_SID_MATCH(15), 0xabcde << 1 | 1);
    submit(t, 0, 0, OP_ATC_INV | 0xabcdeull << 32, 0);
    assert_last(t, "vcmdq0", "00000040 00004321 00000000 00000000");
    no_rule_broken(t);

    submit(t, 0, 1, OP_ATC_INV | 0xabcdfull << 32, 0);
    g_assert_cmphex(cons(t, 0), ==, 0x04000001);
    qtest_quit(t);
}

static void test_hyp_own_can_be_wired_to_zero(void)
{
    QTestState *t = start_queues(",hyp-own=off", HYP_OWN);

    g_assert_cmphex(qtest_readl(t, VINTF(0) + V_CONFIG), ==, 1);
    qtest_quit(t);
}

/* Errors */

static void test_illegal_command_stops_until_acknowledged(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    put(t, 3, 0, 0xff, 0);
    submit(t, 3, 1, OP_SYNC, 0);
    g_assert_cmphex(cons(t, 3), ==, 0x01000000);
    g_assert_cmphex(qtest_readl(t, DIRECT0(3) + Q_GERROR), ==, 1);

    put(t, 3, 0, OP_SYNC, 0);
    acknowledge(t, 3);
    g_assert_cmphex(cons(t, 3) & 0xfffff, ==, 2);
    no_rule_broken(t);
    qtest_quit(t);
}

static void test_error_maps_are_views_of_gerror(void)
{
    QTestState *t = start("");

    enable_block(t);
    enable_vintf(t, 63, HYP_OWN);
    for (int l = 0; l < 128; l++) {
        map_queue(t, l ^ 1, 63, l);
    }
    enable_queue(t, 127);
    submit(t, 127, 0, 0xff, 0);
    g_assert_cmphex(qtest_readl(t, VINTF_ERR_MAP), ==, 0);
    g_assert_cmphex(qtest_readl(t, VINTF_ERR_MAP + 4), ==, 0x80000000);
    g_assert_cmphex(qtest_readl(t, CMDQ_ERR_MAP + 12), ==, 0x80000000);
    g_assert_cmphex(qtest_readl(t, VINTF(63) + V_ERR_MAP(3)), ==, 0x40000000);
    g_assert_cmphex(qtest_readl(t, VINTF(63) + V_STATUS) & 0xf, ==, 3);

    put(t, 127, 0, OP_SYNC, 0);
    acknowledge(t, 127);
    g_assert_cmphex(qtest_readl(t, VINTF_ERR_MAP + 4), ==, 0);
    g_assert_cmphex(qtest_readl(t, CMDQ_ERR_MAP + 12), ==, 0);
    g_assert_cmphex(qtest_readl(t, VINTF(63) + V_ERR_MAP(3)), ==, 0);
    qtest_quit(t);
}

static void test_each_error_is_one_edge(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    submit(t, 0, 0, 0xff, 0);
    g_assert_cmpint(interrupts(t), ==, 1);
    submit(t, 1, 0, 0xff, 0);
    g_assert_cmpint(interrupts(t), ==, 2);
    acknowledge(t, 0);
    g_assert_cmpint(interrupts(t), ==, 3);
    qtest_quit(t);
}

static void test_masked_vintf_raises_no_interrupt(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    qtest_writel(t, VINTF_INT_MASK, 1);
    submit(t, 0, 0, 0xff, 0);
    g_assert_cmpint(interrupts(t), ==, 0);
    g_assert_cmphex(qtest_readl(t, VINTF_ERR_MAP), ==, 1);
    qtest_quit(t);
}

static void test_fetch_from_nowhere_is_an_abort(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    qtest_writel(t, DIRECT0(0) + Q_CONFIG, 0);
    qtest_writeq(t, DIRECT1(0), 0xf00000000000 | LOG2);
    qtest_writel(t, DIRECT0(0) + Q_CONFIG, 1);
    qtest_writel(t, DIRECT0(0) + Q_PROD, 1);
    g_assert_cmphex(cons(t, 0), ==, 0x02000000);
    qtest_quit(t);
}

/* The judge: each rule is seen when it is broken */

static void break_map_order(QTestState *t)
{
    map_queue(t, 10, 0, 6);
}

static void break_unmap_order(QTestState *t)
{
    qtest_writel(t, DIRECT0(0) + Q_CONFIG, 0);
    qtest_writel(t, ALLOC(0), 0);
}

static void break_alloc_while_enabled(QTestState *t)
{
    qtest_writel(t, ALLOC(3), 3 << 1);
}

static void break_dirty_unmap(QTestState *t)
{
    qtest_writel(t, DIRECT0(3) + Q_CONFIG, 0);
    qtest_writel(t, ALLOC(3), 3 << 1);
}

static void break_no_flush(QTestState *t)
{
    submit(t, 3, 0, OP_SYNC, 0);
    qtest_writel(t, DIRECT0(3) + Q_CONFIG, 0);
    qtest_writel(t, ALLOC(3), 3 << 1);
}

static void break_enable_unmapped(QTestState *t)
{
    enable_queue(t, 20);
}

static void break_base_zero(QTestState *t)
{
    map_queue(t, 4, 0, 4);
    qtest_writel(t, DIRECT0(4) + Q_CONFIG, 1);
}

static void break_base_oversize(QTestState *t)
{
    map_queue(t, 4, 0, 4);
    qtest_writeq(t, DIRECT1(4), RAM | 20);
    qtest_writel(t, DIRECT0(4) + Q_CONFIG, 1);
}

static void break_base_misaligned(QTestState *t)
{
    map_queue(t, 4, 0, 4);
    qtest_writeq(t, DIRECT1(4), (RAM + 0x40) | LOG2);
    qtest_writel(t, DIRECT0(4) + Q_CONFIG, 1);
}

static void break_base_while_enabled(QTestState *t)
{
    qtest_writeq(t, DIRECT1(0), QUEUE(9) | LOG2);
}

static void break_cons_while_enabled(QTestState *t)
{
    qtest_writel(t, DIRECT0(0) + Q_CONS, 0);
}

static void break_prod_overrun(QTestState *t)
{
    qtest_writel(t, DIRECT0(0) + Q_PROD, 9);
}

static void break_queue_memory_changed(QTestState *t)
{
    put(t, 0, 0, 0xff, 0);
    submit(t, 0, 1, OP_SYNC, 0);
    put(t, 0, 0, OP_SYNC, 0);
    put(t, 0, 1, OP_CFGI_ALL, 31);
    acknowledge(t, 0);
}

static void break_sync_signal(QTestState *t)
{
    submit(t, 0, 0, OP_SYNC | 2 << 12, 0);
}

static void break_hyp_own_changed(QTestState *t)
{
    qtest_writel(t, VINTF(0) + V_CONFIG, 1);
}

static void break_vmid_changed(QTestState *t)
{
    qtest_writel(t, VINTF(0) + V_CONFIG, HYP_OWN | 5 << 1 | 1);
}

static void break_vintf_config_order(QTestState *t)
{
    qtest_writel(t, VINTF(1) + V_CONFIG, HYP_OWN | 1);
}

static void break_vintf_with_queues(QTestState *t)
{
    qtest_writel(t, VINTF(0) + V_CONFIG, 0);
}

static void break_sid_order(QTestState *t)
{
    qtest_writel(t, VINTF(1) + V_SID_MATCH(0), 1);
    qtest_writel(t, VINTF(1) + V_SID_REPL(0), 1);
}

static void break_config_fields(QTestState *t)
{
    qtest_writel(t, CONFIG, 1);
}

static void break_wide_access(QTestState *t)
{
    qtest_readq(t, DIRECT0(0));
}

static void break_reserved(QTestState *t)
{
    qtest_writel(t, PARAM, 0);
}

static void break_fetch_smmu_off(QTestState *t)
{
    qtest_writel(t, SMMU_CR0, 0x8);
    qtest_writel(t, SMMU_CR0, 0);
}

static const struct {
    const char *rule;
    void (*break_it)(QTestState *t);
} rules[] = {
    { "map-order", break_map_order },
    { "unmap-order", break_unmap_order },
    { "alloc-while-enabled", break_alloc_while_enabled },
    { "dirty-unmap", break_dirty_unmap },
    { "no-flush", break_no_flush },
    { "enable-unmapped", break_enable_unmapped },
    { "base-zero", break_base_zero },
    { "base-oversize", break_base_oversize },
    { "base-misaligned", break_base_misaligned },
    { "base-while-enabled", break_base_while_enabled },
    { "prod-cons-while-enabled", break_cons_while_enabled },
    { "prod-overrun", break_prod_overrun },
    { "queue-memory-changed", break_queue_memory_changed },
    { "sync-signal", break_sync_signal },
    { "hyp-own-changed", break_hyp_own_changed },
    { "vmid-changed", break_vmid_changed },
    { "vintf-config-order", break_vintf_config_order },
    { "vintf-with-queues", break_vintf_with_queues },
    { "sid-order", break_sid_order },
    { "config-fields", break_config_fields },
    { "wide-access", break_wide_access },
    { "reserved", break_reserved },
    { "fetch-smmu-off", break_fetch_smmu_off },
};

static void test_rule(const void *data)
{
    int i = (uintptr_t)data;
    QTestState *t = start_queues("", HYP_OWN);

    no_rule_broken(t);
    rules[i].break_it(t);
    g_assert_cmpint(broken(t, rules[i].rule), >, 0);
    qtest_quit(t);
}

static void test_orderly_teardown_breaks_no_rule(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    qtest_writeq(t, SMMU_CMDQ_BASE, SMMU_QUEUE | LOG2);
    qtest_writel(t, SMMU_CR0, 0x8);
    submit(t, 2, 0, OP_SYNC, 0);
    for (int q = 3; q >= 0; q--) {
        qtest_writel(t, DIRECT0(q) + Q_CONFIG, 0);
    }
    qtest_writeq(t, SMMU_QUEUE, OP_SYNC);
    qtest_writeq(t, SMMU_QUEUE + 8, 0);
    qtest_writel(t, SMMU_CMDQ_PROD, 1);
    for (int q = 3; q >= 0; q--) {
        qtest_writel(t, DIRECT0(q) + Q_PROD, 0);
        qtest_writel(t, DIRECT0(q) + Q_CONS, 0);
        qtest_writeq(t, DIRECT1(q), 0);
        qtest_writel(t, ALLOC(q), q << 1);
    }
    qtest_writel(t, VINTF(0) + V_CONFIG, 0);
    qtest_writel(t, CONFIG, 0x20082);
    qtest_writel(t, SMMU_CR0, 0);
    no_rule_broken(t);
    qtest_quit(t);
}

/* Faults on demand */

static void test_fault_cons_error(void)
{
    static const uint8_t codes[] = { 1, 2, 3, 4, 0x55 };

    for (int i = 0; i < ARRAY_SIZE(codes); i++) {
        g_autofree char *json = g_strdup_printf(
            "{\"fault\": \"cons-error\", \"vcmdq\": 1, \"code\": %u, "
            "\"at\": 2}", codes[i]);
        QTestState *t = start_queues("", HYP_OWN);

        inject(t, json);
        submit(t, 0, 0, OP_SYNC, 0);
        submit(t, 0, 1, OP_SYNC, 0);
        submit(t, 1, 0, OP_SYNC, 0);
        g_assert_cmphex(cons(t, 1), ==, 1);
        submit(t, 1, 1, OP_SYNC, 0);
        g_assert_cmphex(cons(t, 1), ==, codes[i] << 24 | 1);
        acknowledge(t, 1);
        g_assert_cmphex(cons(t, 1) & 0xfffff, ==, 2);
        g_assert_cmphex(cons(t, 0), ==, 2);
        qtest_quit(t);
    }
}

static void test_fault_gerror(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    inject(t, "{\"fault\": \"gerror\", \"vcmdq\": 2, \"bits\": 4}");
    g_assert_cmphex(qtest_readl(t, DIRECT0(2) + Q_GERROR), ==, 4);
    g_assert_cmpint(interrupts(t), ==, 1);
    qtest_quit(t);
}

static void test_fault_no_enable(void)
{
    QTestState *t = start("");

    inject(t, "{\"fault\": \"no-enable\", \"what\": \"vcmdq\", \"index\": 1}");
    inject(t, "{\"fault\": \"no-enable\", \"what\": \"vintf\", \"index\": 2}");
    enable_block(t);
    enable_vintf(t, 0, HYP_OWN);
    enable_vintf(t, 2, HYP_OWN);
    g_assert_cmphex(qtest_readl(t, VINTF(0) + V_STATUS), ==, 1);
    g_assert_cmphex(qtest_readl(t, VINTF(2) + V_STATUS), ==, 0);
    for (int q = 0; q < 2; q++) {
        map_queue(t, q, 0, q);
        enable_queue(t, q);
        g_assert_cmphex(qtest_readl(t, DIRECT0(q) + Q_STATUS), ==, !q);
    }
    qtest_quit(t);

    t = start("");
    inject(t, "{\"fault\": \"no-enable\", \"what\": \"block\"}");
    enable_block(t);
    g_assert_cmphex(qtest_readl(t, STATUS), ==, 0);
    qtest_quit(t);
}

static void test_fault_no_disable(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    inject(t, "{\"fault\": \"no-disable\", \"what\": \"vcmdq\", \"index\": 1}");
    inject(t, "{\"fault\": \"no-disable\", \"what\": \"vintf\", \"index\": 0}");
    inject(t, "{\"fault\": \"no-disable\", \"what\": \"block\"}");
    for (int q = 0; q < 4; q++) {
        qtest_writel(t, DIRECT0(q) + Q_CONFIG, 0);
        g_assert_cmphex(qtest_readl(t, DIRECT0(q) + Q_STATUS), ==, q == 1);
    }
    qtest_writel(t, VINTF(0) + V_CONFIG, HYP_OWN);
    g_assert_cmphex(qtest_readl(t, VINTF(0) + V_STATUS) & 1, ==, 1);
    qtest_writel(t, CONFIG, 0x20082);
    g_assert_cmphex(qtest_readl(t, STATUS), ==, 1);
    qtest_quit(t);
}

static void test_fault_stuck_cons(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    inject(t, "{\"fault\": \"stuck-cons\", \"vcmdq\": 0, \"at\": 2}");
    submit(t, 0, 0, OP_SYNC, 0);
    submit(t, 0, 1, OP_SYNC, 0);
    submit(t, 0, 2, OP_SYNC, 0);
    g_assert_cmphex(cons(t, 0), ==, 1);
    g_assert_cmphex(qtest_readl(t, DIRECT0(0) + Q_GERROR), ==, 0);
    qtest_quit(t);
}

static void test_fault_interrupts(void)
{
    QTestState *t = start_queues("", HYP_OWN);

    inject(t, "{\"fault\": \"spurious-irq\"}");
    g_assert_cmpint(interrupts(t), ==, 1);
    inject(t, "{\"fault\": \"lose-irq\", \"count\": 1}");
    submit(t, 0, 0, 0xff, 0);
    g_assert_cmpint(interrupts(t), ==, 1);
    submit(t, 1, 0, 0xff, 0);
    g_assert_cmpint(interrupts(t), ==, 2);
    inject(t, "{\"fault\": \"no-irq\"}");
    submit(t, 2, 0, 0xff, 0);
    g_assert_cmpint(interrupts(t), ==, 2);
    qtest_quit(t);
}

static void test_fault_param(void)
{
    QTestState *t = start("");

    inject(t, "{\"fault\": \"param\", \"value\": \"0xffffffff\"}");
    g_assert_cmphex(qtest_readl(t, PARAM), ==, 0xffffffff);
    inject(t, "{\"fault\": \"clear\"}");
    g_assert_cmphex(qtest_readl(t, PARAM), ==, 0x4671);
    qtest_quit(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("cmdqv/param-tells-the-shape", test_param_tells_the_shape);
    qtest_add_func("cmdqv/status-follows-enable", test_status_follows_enable);
    qtest_add_func("cmdqv/views-show-the-same-registers",
                   test_views_show_the_same_registers);
    qtest_add_func("cmdqv/unmapped-slot-reads-zero-and-drops-writes",
                   test_unmapped_slot_reads_zero_and_drops_writes);
    qtest_add_func("cmdqv/block-disable-forgets-mappings",
                   test_block_disable_forgets_mappings);
    qtest_add_func("cmdqv/queue-wraps-around", test_queue_wraps_around);
    qtest_add_func("cmdqv/commands-are-counted-by-queue-and-opcode",
                   test_commands_are_counted_by_queue_and_opcode);
    qtest_add_func("cmdqv/async-queue-executes-later",
                   test_async_queue_executes_later);
    qtest_add_func("cmdqv/guest-queue-takes-invalidations-only",
                   test_guest_queue_takes_invalidations_only);
    qtest_add_func("cmdqv/guest-invalidation-gets-the-vmid-of-its-vintf",
                   test_guest_invalidation_gets_the_vmid_of_its_vintf);
    qtest_add_func("cmdqv/guest-stream-id-is-replaced",
                   test_guest_stream_id_is_replaced);
    qtest_add_func("cmdqv/hyp-own-can-be-wired-to-zero",
                   test_hyp_own_can_be_wired_to_zero);
    qtest_add_func("cmdqv/illegal-command-stops-until-acknowledged",
                   test_illegal_command_stops_until_acknowledged);
    qtest_add_func("cmdqv/error-maps-are-views-of-gerror",
                   test_error_maps_are_views_of_gerror);
    qtest_add_func("cmdqv/each-error-is-one-edge", test_each_error_is_one_edge);
    qtest_add_func("cmdqv/masked-vintf-raises-no-interrupt",
                   test_masked_vintf_raises_no_interrupt);
    qtest_add_func("cmdqv/fetch-from-nowhere-is-an-abort",
                   test_fetch_from_nowhere_is_an_abort);
    for (uintptr_t i = 0; i < ARRAY_SIZE(rules); i++) {
        g_autofree char *path = g_strdup_printf("cmdqv/rule/%s",
                                                rules[i].rule);

        qtest_add_data_func(path, (void *)i, test_rule);
    }
    qtest_add_func("cmdqv/orderly-teardown-breaks-no-rule",
                   test_orderly_teardown_breaks_no_rule);
    qtest_add_func("cmdqv/fault/cons-error", test_fault_cons_error);
    qtest_add_func("cmdqv/fault/gerror", test_fault_gerror);
    qtest_add_func("cmdqv/fault/no-enable", test_fault_no_enable);
    qtest_add_func("cmdqv/fault/no-disable", test_fault_no_disable);
    qtest_add_func("cmdqv/fault/stuck-cons", test_fault_stuck_cons);
    qtest_add_func("cmdqv/fault/interrupts", test_fault_interrupts);
    qtest_add_func("cmdqv/fault/param", test_fault_param);

    return g_test_run();
}
