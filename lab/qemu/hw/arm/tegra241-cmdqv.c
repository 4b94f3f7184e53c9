/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tegra241 CMDQ-V: the block, its registers and the mapping of queues
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "hw/arm/tegra241-cmdqv.h"
#include "hw/irq.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"

#define CONFIG_RESET    0x00020083

uint32_t cmdqv_size(Tegra241CmdqvState *s)
{
    return CMDQV_VINTF_PAGES + CMDQV_VINTF_STRIDE * s->num_vintfs;
}

void cmdqv_interrupt(Tegra241CmdqvState *s)
{
    if (s->no_irq || !s->has_irq) {
        return;
    }
    if (s->lose_irqs) {
        s->lose_irqs--;
        return;
    }
    s->interrupts++;
    qemu_irq_pulse(s->irq);
}

/* Each new error is one edge; the maps are views of GERROR ^ GERRORN */
void cmdqv_raise(CmdqvQueue *q, uint32_t bits, uint32_t code)
{
    Tegra241CmdqvState *s = q->s;
    uint32_t fresh = bits & ~(q->gerror ^ q->gerrorn);

    if (!fresh) {
        return;
    }
    if (code) {
        q->cons = deposit32(q->cons, 24, 7, code);
    }
    q->gerror ^= fresh;
    q->count.errors++;
    if (!(q->mapped && extract64(s->int_mask, q->vintf, 1))) {
        cmdqv_interrupt(s);
    }
}

static uint32_t queue_err_map(Tegra241CmdqvState *s, uint32_t word)
{
    uint32_t map = 0;

    for (int i = 0; i < 32 && word * 32 + i < s->num_vcmdqs; i++) {
        CmdqvQueue *q = &s->q[word * 32 + i];

        map |= (uint32_t)(q->gerror != q->gerrorn) << i;
    }
    return map;
}

static uint32_t lvcmdq_err_map(Tegra241CmdqvState *s, CmdqvVintf *v,
                               uint32_t word)
{
    uint32_t map = 0;

    for (int i = 0; i < 32 && word * 32 + i < v->mapped; i++) {
        CmdqvQueue *q = &s->q[v->queue[word * 32 + i]];

        map |= (uint32_t)(q->gerror != q->gerrorn) << i;
    }
    return map;
}

static bool vintf_has_error(Tegra241CmdqvState *s, CmdqvVintf *v)
{
    return lvcmdq_err_map(s, v, 0) || lvcmdq_err_map(s, v, 1) ||
           lvcmdq_err_map(s, v, 2) || lvcmdq_err_map(s, v, 3);
}

static uint32_t vintf_err_map(Tegra241CmdqvState *s, uint32_t word)
{
    uint32_t map = 0;

    for (int i = 0; i < 32 && word * 32 + i < s->num_vintfs; i++) {
        map |= (uint32_t)vintf_has_error(s, &s->vintf[word * 32 + i]) << i;
    }
    return map;
}

static uint32_t vintf_read(Tegra241CmdqvState *s, CmdqvVintf *v, hwaddr reg)
{
    switch (reg) {
    case 0x00:
        return v->config;
    case 0x04:
        return v->status | (vintf_has_error(s, v) << 1) | (v->mapped << 16);
    case 0x40 ... 0x7f:
        return v->sid_match[(reg - 0x40) / 4];
    case 0x80 ... 0xbf:
        return v->sid_replace[(reg - 0x80) / 4];
    case 0xc0 ... 0xcf:
        return lvcmdq_err_map(s, v, (reg - 0xc0) / 4);
    default:
        return 0;
    }
}

static uint32_t config_page_read(Tegra241CmdqvState *s, hwaddr reg)
{
    switch (reg) {
    case 0x0000:
        return s->config;
    case 0x0004:
        return s->param_overridden ? s->param_override :
               1 | ctz32(s->num_vcmdqs) << 4 | ctz32(s->num_vintfs) << 8 |
               ctz32(s->num_sids) << 12;
    case 0x0008:
        return s->status;
    case 0x0014:
    case 0x0018:
        return vintf_err_map(s, (reg - 0x14) / 4);
    case 0x001c:
    case 0x0020:
        return extract64(s->int_mask, (reg - 0x1c) * 8, 32);
    case 0x0024 ... 0x0033:
        return queue_err_map(s, (reg - 0x24) / 4);
    case 0x0200 ... 0x03ff:
        return (reg - 0x200) / 4 < s->num_vcmdqs ?
               s->q[(reg - 0x200) / 4].alloc : 0;
    case 0x1000 ... 0x4fff:
        return (reg - 0x1000) / 0x100 < s->num_vintfs ?
               vintf_read(s, &s->vintf[(reg - 0x1000) / 0x100], reg & 0xff) : 0;
    default:
        return 0;
    }
}

static void vintf_enable(Tegra241CmdqvState *s, CmdqvVintf *v, uint32_t old,
                         uint32_t val)
{
    uint32_t idx = v - s->vintf;

    if ((old ^ val) & ~VINTF_EN) {
        cmdqv_broke(s, RULE_VINTF_CONFIG_ORDER,
                    "VINTF%u: CONFIG 0x%x enabled in one write", idx, val);
    }
    if (s->status && !cmdqv_fault_blocks(s, "no-enable", "vintf", idx)) {
        v->status = 1;
    }
}

static void vintf_disable(Tegra241CmdqvState *s, CmdqvVintf *v)
{
    uint32_t idx = v - s->vintf;

    for (int i = 0; i < v->mapped; i++) {
        if (s->q[v->queue[i]].status & 1) {
            cmdqv_broke(s, RULE_VINTF_WITH_QUEUES,
                        "VINTF%u: disabled while VCMDQ%u is enabled", idx,
                        v->queue[i]);
        }
    }
    if (!cmdqv_fault_blocks(s, "no-disable", "vintf", idx)) {
        v->status = 0;
    }
}

static void vintf_write_config(Tegra241CmdqvState *s, CmdqvVintf *v,
                               uint32_t val)
{
    uint32_t old = v->config, idx = v - s->vintf;

    val &= 0x3ffff;
    v->config = s->hyp_own ? val : val & ~VINTF_HYP_OWN;
    if (!(old & VINTF_EN) && (val & VINTF_EN)) {
        vintf_enable(s, v, old, v->config);
    } else if ((old & VINTF_EN) && !(val & VINTF_EN)) {
        vintf_disable(s, v);
    } else if ((old & VINTF_EN) && ((old ^ v->config) & VINTF_HYP_OWN)) {
        cmdqv_broke(s, RULE_HYP_OWN_CHANGED, "VINTF%u: CONFIG 0x%x -> 0x%x",
                    idx, old, val);
    } else if ((old & VINTF_EN) && old != v->config) {
        cmdqv_broke(s, RULE_VMID_CHANGED, "VINTF%u: CONFIG 0x%x -> 0x%x", idx,
                    old, val);
    }
}

static void vintf_write_sid(Tegra241CmdqvState *s, CmdqvVintf *v, hwaddr reg,
                            uint32_t val)
{
    uint32_t slot = (reg & 0x3f) / 4, idx = v - s->vintf;

    if (slot >= s->num_sids) {
        s->unmapped++;
    } else if (reg < 0x80) {
        v->sid_match[slot] = val & 0x1fffff;
    } else {
        if (v->sid_match[slot] & 1) {
            cmdqv_broke(s, RULE_SID_ORDER,
                        "VINTF%u: SID_REPLACE(%u) written while it matches",
                        idx, slot);
        }
        v->sid_replace[slot] = val & 0xfffff;
    }
}

static void vintf_write(Tegra241CmdqvState *s, uint32_t idx, hwaddr reg,
                        uint32_t val)
{
    CmdqvVintf *v = &s->vintf[idx];

    if (idx >= s->num_vintfs) {
        s->unmapped++;
    } else if (reg == 0) {
        vintf_write_config(s, v, val);
    } else if (reg >= 0x40 && reg < 0xc0) {
        vintf_write_sid(s, v, reg, val);
    } else {
        cmdqv_broke(s, RULE_RESERVED, "VINTF%u: write to 0x%x", idx,
                    (unsigned)reg);
    }
}

static void map_queue(Tegra241CmdqvState *s, CmdqvQueue *q, uint32_t val)
{
    uint32_t lidx = extract32(val, 1, 7), vidx = extract32(val, 15, 6);
    CmdqvVintf *v = &s->vintf[vidx];

    if (vidx >= s->num_vintfs || lidx != v->mapped) {
        cmdqv_broke(s, RULE_MAP_ORDER,
                    "VCMDQ%u: mapped as %u into VINTF%u, which has %u", q->idx,
                    lidx, vidx, vidx < s->num_vintfs ? v->mapped : 0);
        return;
    }
    v->queue[v->mapped++] = q->idx;
    q->mapped = true;
    q->vintf = vidx;
    q->lidx = lidx;
    q->dirty = false;
}

static void unmap_queue(Tegra241CmdqvState *s, CmdqvQueue *q)
{
    CmdqvVintf *v = &s->vintf[q->vintf];

    if (q->status & 1) {
        cmdqv_broke(s, RULE_ALLOC_WHILE_ENABLED, "VCMDQ%u: unmapped", q->idx);
    }
    if (q->dirty) {
        cmdqv_broke(s, RULE_NO_FLUSH,
                    "VCMDQ%u: unmapped with no CMD_SYNC on the SMMU's queue",
                    q->idx);
    }
    if (q->cons || q->prod || q->base || q->cons_base ||
        q->gerror != q->gerrorn) {
        cmdqv_broke(s, RULE_DIRTY_UNMAP,
                    "VCMDQ%u: unmapped with CONS 0x%x PROD 0x%x BASE 0x%"
                    PRIx64 " GERROR 0x%x/0x%x", q->idx, q->cons, q->prod,
                    q->base, q->gerror, q->gerrorn);
    }
    q->mapped = false;
    if (q->lidx != v->mapped - 1) {
        cmdqv_broke(s, RULE_UNMAP_ORDER,
                    "VCMDQ%u: unmapped as %u of %u of VINTF%u", q->idx,
                    q->lidx, v->mapped, q->vintf);
        return;
    }
    v->mapped--;
}

static void write_alloc(Tegra241CmdqvState *s, uint32_t idx, uint32_t val)
{
    CmdqvQueue *q = &s->q[idx];
    uint32_t old = q->alloc;

    if (idx >= s->num_vcmdqs) {
        s->unmapped++;
        return;
    }
    q->alloc = val & 0x1f80ff;
    if (!s->status) {
        q->alloc &= ~1;
    } else if (!(old & 1) && (val & 1)) {
        map_queue(s, q, val);
    } else if ((old & 1) && !(val & 1) && q->mapped) {
        unmap_queue(s, q);
    } else if ((old & 1) && old != q->alloc) {
        cmdqv_broke(s, RULE_ALLOC_WHILE_ENABLED,
                    "VCMDQ%u: ALLOC 0x%x -> 0x%x", idx, old, q->alloc);
    }
}

/* All mappings are forgotten. The registers of queues stay as they are */
static void block_disable(Tegra241CmdqvState *s)
{
    s->status = 0;
    for (int i = 0; i < CMDQV_MAX_VCMDQS; i++) {
        CmdqvQueue *q = &s->q[i];

        cmdqv_queue_stop(q);
        q->config = q->alloc = 0;
        q->mapped = q->dirty = false;
    }
    for (int i = 0; i < CMDQV_MAX_VINTFS; i++) {
        s->vintf[i].config = s->vintf[i].status = s->vintf[i].mapped = 0;
        memset(s->vintf[i].sid_match, 0, sizeof(s->vintf[i].sid_match));
    }
}

static void write_block_config(Tegra241CmdqvState *s, uint32_t val)
{
    bool was = s->config & 1, on = val & 1;

    if ((s->config ^ val) & ~1) {
        cmdqv_broke(s, RULE_CONFIG_FIELDS, "CONFIG 0x%x -> 0x%x", s->config,
                    val);
    }
    s->config = val & 0x1fffff;
    if (!was && on && !cmdqv_fault_blocks(s, "no-enable", "block", 0)) {
        s->status = 1;
    } else if (was && !on && !cmdqv_fault_blocks(s, "no-disable", "block", 0)) {
        block_disable(s);
    }
}

static void config_page_write(Tegra241CmdqvState *s, hwaddr reg, uint32_t val)
{
    switch (reg) {
    case 0x0000:
        write_block_config(s, val);
        break;
    case 0x001c:
    case 0x0020:
        s->int_mask = deposit64(s->int_mask, (reg - 0x1c) * 8, 32, val);
        break;
    case 0x0200 ... 0x03ff:
        write_alloc(s, (reg - 0x200) / 4, val);
        break;
    case 0x1000 ... 0x4fff:
        vintf_write(s, (reg - 0x1000) / 0x100, reg & 0xff, val);
        break;
    default:
        cmdqv_broke(s, RULE_RESERVED, "write to CONFIG page + 0x%x",
                    (unsigned)reg);
    }
}

/* The queue behind an address beyond the CONFIG page, and which page of it */
static CmdqvQueue *decode(Tegra241CmdqvState *s, hwaddr addr, int *page)
{
    uint32_t idx = (addr % CMDQV_PAGE_SIZE) / 0x80, n;
    CmdqvVintf *v;

    if (addr < CMDQV_VINTF_PAGES) {
        *page = addr / CMDQV_PAGE_SIZE - 1;
        s->direct_accesses[*page]++;
        return idx < s->num_vcmdqs ? &s->q[idx] : NULL;
    }

    n = (addr - CMDQV_VINTF_PAGES) / CMDQV_PAGE_SIZE;
    *page = n & 1;
    v = &s->vintf[n / 2];
    v->accesses[*page]++;
    return v->status && idx < v->mapped ? &s->q[v->queue[idx]] : NULL;
}

static MemTxResult cmdqv_read(void *opaque, hwaddr addr, uint64_t *data,
                              unsigned size, MemTxAttrs attrs)
{
    Tegra241CmdqvState *s = opaque;
    CmdqvQueue *q;
    int page;

    *data = 0;
    if (addr < CMDQV_PAGE_SIZE) {
        s->config_accesses++;
        *data = config_page_read(s, addr);
        if (size == 8) {
            *data |= (uint64_t)config_page_read(s, addr + 4) << 32;
        }
        return MEMTX_OK;
    }

    q = decode(s, addr, &page);
    if (!q) {
        s->unmapped++;
    } else if (page) {
        uint64_t r = (addr & 0x78) == 0 ? q->base :
                     (addr & 0x78) == 8 ? q->cons_base : 0;

        *data = size == 8 ? r : extract64(r, (addr & 4) * 8, 32);
    } else if (size == 8) {
        cmdqv_broke(s, RULE_WIDE_ACCESS, "VCMDQ%u: 64-bit read of page 0",
                    q->idx);
    } else {
        *data = cmdqv_queue_read(q, addr & 0x7f);
    }
    return MEMTX_OK;
}

static MemTxResult cmdqv_write(void *opaque, hwaddr addr, uint64_t data,
                               unsigned size, MemTxAttrs attrs)
{
    Tegra241CmdqvState *s = opaque;
    CmdqvQueue *q;
    int page;

    if (addr < CMDQV_PAGE_SIZE) {
        s->config_accesses++;
        if (size == 8) {
            cmdqv_broke(s, RULE_WIDE_ACCESS, "64-bit write of CONFIG page");
        } else {
            config_page_write(s, addr, data);
        }
        return MEMTX_OK;
    }

    q = decode(s, addr, &page);
    if (!q) {
        s->unmapped++;
    } else if (page) {
        cmdqv_queue_write_page1(q, addr & 0x7f, data, size);
    } else if (size == 8) {
        cmdqv_broke(s, RULE_WIDE_ACCESS, "VCMDQ%u: 64-bit write of page 0",
                    q->idx);
    } else {
        cmdqv_queue_write(q, addr & 0x7f, data);
    }
    return MEMTX_OK;
}

static const MemoryRegionOps cmdqv_ops = {
    .read_with_attrs = cmdqv_read,
    .write_with_attrs = cmdqv_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 8 },
    .impl = { .min_access_size = 4, .max_access_size = 8 },
};

static bool check_shape(uint32_t n, uint32_t max, const char *name,
                        Error **errp)
{
    if (!is_power_of_2(n) || n > max) {
        error_setg(errp, "%s=%u is not a power of two from 1 to %u", name, n,
                   max);
        return false;
    }
    return true;
}

static bool check_properties(Tegra241CmdqvState *s, Error **errp)
{
    if (!check_shape(s->num_vintfs, CMDQV_MAX_VINTFS, "vintfs", errp) ||
        !check_shape(s->num_vcmdqs, CMDQV_MAX_VCMDQS, "vcmdqs", errp) ||
        !check_shape(s->num_sids, CMDQV_MAX_SIDS, "sid-slots", errp)) {
        return false;
    }
    if (strcmp(s->crs, "qword") && strcmp(s->crs, "memory32")) {
        error_setg(errp, "crs=%s is neither qword nor memory32", s->crs);
        return false;
    }
    s->async = !strcmp(s->consume, "async");
    if (!s->async && strcmp(s->consume, "sync")) {
        error_setg(errp, "consume=%s is neither sync nor async", s->consume);
        return false;
    }
    if (s->delay_ns && !s->async) {
        error_setg(errp, "delay-ns needs consume=async");
        return false;
    }
    return true;
}

static void cmdqv_realize(DeviceState *dev, Error **errp)
{
    Tegra241CmdqvState *s = TEGRA241_CMDQV(dev);
    bool ambiguous = false;
    Object *smmu = object_resolve_path_type("", TYPE_ARM_SMMUV3, &ambiguous);

    if (!smmu || ambiguous) {
        error_setg(errp, "needs one SMMUv3: -M virt,iommu=smmuv3");
        return;
    }
    if (!check_properties(s, errp)) {
        return;
    }
    s->smmu = ARM_SMMUV3(smmu);
    if (s->smmu->observer) {
        error_setg(errp, "the SMMUv3 has such a block already");
        return;
    }

    for (int i = 0; i < CMDQV_MAX_VCMDQS; i++) {
        s->q[i].s = s;
        s->q[i].idx = i;
        s->q[i].timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, cmdqv_queue_timer,
                                     &s->q[i]);
    }
    memory_region_init_io(&s->mmio, OBJECT(s), &cmdqv_ops, s,
                          TYPE_TEGRA241_CMDQV, cmdqv_size(s));
    sysbus_init_mmio(SYS_BUS_DEVICE(dev), &s->mmio);
    sysbus_init_irq(SYS_BUS_DEVICE(dev), &s->irq);
    cmdqv_judge_init(s);
}

static void cmdqv_reset_hold(Object *obj, ResetType type)
{
    Tegra241CmdqvState *s = TEGRA241_CMDQV(obj);

    block_disable(s);
    s->config = CONFIG_RESET & ~1;
    s->int_mask = 0;
    for (int i = 0; i < CMDQV_MAX_VCMDQS; i++) {
        CmdqvQueue *q = &s->q[i];

        q->cons = q->prod = q->gerror = q->gerrorn = 0;
        q->base = q->cons_base = 0;
    }
}

static char *get_report(Object *obj, Error **errp)
{
    return cmdqv_report(TEGRA241_CMDQV(obj));
}

static void set_report_reset(Object *obj, bool value, Error **errp)
{
    cmdqv_judge_reset(TEGRA241_CMDQV(obj));
}

static void set_inject(Object *obj, const char *value, Error **errp)
{
    cmdqv_inject(TEGRA241_CMDQV(obj), value, errp);
}

static const Property cmdqv_properties[] = {
    DEFINE_PROP_UINT32("vintfs", Tegra241CmdqvState, num_vintfs, 64),
    DEFINE_PROP_UINT32("vcmdqs", Tegra241CmdqvState, num_vcmdqs, 128),
    DEFINE_PROP_UINT32("sid-slots", Tegra241CmdqvState, num_sids, 16),
    DEFINE_PROP_BOOL("irq", Tegra241CmdqvState, has_irq, true),
    /* A hypervisor wires HYP_OWN of its guest's VINTF to zero */
    DEFINE_PROP_BOOL("hyp-own", Tegra241CmdqvState, hyp_own, true),
    DEFINE_PROP_STRING("crs", Tegra241CmdqvState, crs),
    DEFINE_PROP_STRING("consume", Tegra241CmdqvState, consume),
    DEFINE_PROP_UINT64("delay-ns", Tegra241CmdqvState, delay_ns, 0),
};

static void cmdqv_instance_init(Object *obj)
{
    Tegra241CmdqvState *s = TEGRA241_CMDQV(obj);

    s->crs = g_strdup("qword");
    s->consume = g_strdup("sync");
}

static void cmdqv_class_init(ObjectClass *klass, void *data)
{
    static const VMStateDescription vmstate = {
        .name = TYPE_TEGRA241_CMDQV,
        .unmigratable = 1,
    };
    DeviceClass *dc = DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);

    dc->desc = "command-queue virtualization block of NVIDIA Tegra241";
    dc->realize = cmdqv_realize;
    dc->vmsd = &vmstate;
    dc->user_creatable = true;
    rc->phases.hold = cmdqv_reset_hold;
    device_class_set_props(dc, cmdqv_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);

    object_class_property_add_str(klass, "report", get_report, NULL);
    object_class_property_set_description(klass, "report",
        "JSON: rules that software broke, counters, state");
    object_class_property_add_bool(klass, "report-reset", NULL,
                                   set_report_reset);
    object_class_property_set_description(klass, "report-reset",
        "forget broken rules and counters");
    object_class_property_add_str(klass, "inject", NULL, set_inject);
    object_class_property_set_description(klass, "inject",
        "JSON: a fault to inject");
}

static const TypeInfo cmdqv_info = {
    .name = TYPE_TEGRA241_CMDQV,
    .parent = TYPE_SYS_BUS_DEVICE,
    .instance_size = sizeof(Tegra241CmdqvState),
    .instance_init = cmdqv_instance_init,
    .class_init = cmdqv_class_init,
};

static void cmdqv_register_types(void)
{
    type_register_static(&cmdqv_info);
}

type_init(cmdqv_register_types)
