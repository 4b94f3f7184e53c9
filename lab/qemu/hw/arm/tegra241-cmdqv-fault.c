/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tegra241 CMDQ-V: faults on demand
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qjson.h"
#include "qobject/qobject.h"
#include "qemu/cutils.h"
#include "hw/arm/tegra241-cmdqv.h"
#include "smmuv3-internal.h"

struct CmdqvFault {
    const char *kind;       /* of kinds[] */
    char *what;             /* "vcmdq", "vintf" or "block"; an opcode */
    int64_t index;          /* of what, or CMDQV_ALL */
    uint32_t code;
    int64_t at;             /* commands until it strikes */
    int64_t count;          /* how often it strikes, -1: for ever */
};

/* Faults that last, those that are done at once are in inject_now() */
static const char *const kinds[] = {
    "cons-error", "stuck-cons", "no-enable", "no-disable", "drop",
};

static bool strike(CmdqvFault *f)
{
    if (!f->count) {
        return false;
    }
    if (f->at > 1) {
        f->at--;
        return false;
    }
    if (f->count > 0) {
        f->count--;
    }
    return true;
}

/* Called before each command of a queue. Returns an error code for CONS, or 0 */
uint32_t cmdqv_fault_command(CmdqvQueue *q)
{
    for (GSList *l = q->s->faults; l; l = l->next) {
        CmdqvFault *f = l->data;

        if (f->index != CMDQV_ALL && f->index != q->idx) {
            continue;
        }
        if (!strcmp(f->kind, "cons-error") && strike(f)) {
            return f->code;
        }
        if (!strcmp(f->kind, "stuck-cons") && strike(f)) {
            q->stuck = true;
        }
    }
    return 0;
}

bool cmdqv_fault_blocks(Tegra241CmdqvState *s, const char *fault,
                        const char *what, uint32_t index)
{
    for (GSList *l = s->faults; l; l = l->next) {
        CmdqvFault *f = l->data;

        if (!strcmp(f->kind, fault) && !strcmp(f->what, what) &&
            (f->index == CMDQV_ALL || f->index == index)) {
            return true;
        }
    }
    return false;
}

bool cmdqv_fault_drops(Tegra241CmdqvState *s, uint8_t opcode)
{
    const char *name = s->faults ? cmdqv_opcode_name(opcode) : NULL;

    for (GSList *l = s->faults; l; l = l->next) {
        CmdqvFault *f = l->data;

        /* "TLBI" stands for all that begin so */
        if (!strcmp(f->kind, "drop") && g_str_has_prefix(name, f->what) &&
            strike(f)) {
            return true;
        }
    }
    return false;
}

static void fault_free(void *opaque)
{
    CmdqvFault *f = opaque;

    g_free(f->what);
    g_free(f);
}

void cmdqv_faults_clear(Tegra241CmdqvState *s)
{
    g_slist_free_full(s->faults, fault_free);
    s->faults = NULL;
    s->param_overridden = s->no_irq = false;
    s->lose_irqs = 0;
    for (int i = 0; i < CMDQV_MAX_VCMDQS; i++) {
        s->q[i].stuck = false;
    }
}

/* Returns false where the fault is none that is done at once */
static bool inject_now(Tegra241CmdqvState *s, const char *fault, QDict *args,
                       Error **errp)
{
    int64_t vcmdq = qdict_get_try_int(args, "vcmdq", 0);
    const char *value = qdict_get_try_str(args, "value");

    if (!strcmp(fault, "clear")) {
        cmdqv_faults_clear(s);
    } else if (!strcmp(fault, "spurious-irq")) {
        cmdqv_interrupt(s);
    } else if (!strcmp(fault, "no-irq")) {
        s->no_irq = true;
    } else if (!strcmp(fault, "lose-irq")) {
        s->lose_irqs = qdict_get_try_int(args, "count", 1);
    } else if (!strcmp(fault, "param")) {
        if (!value || qemu_strtoui(value, NULL, 0, &s->param_override)) {
            error_setg(errp, "param needs a 32-bit number as value");
        }
        s->param_overridden = true;
    } else if (!strcmp(fault, "gerror")) {
        if (vcmdq < 0 || vcmdq >= s->num_vcmdqs) {
            error_setg(errp, "there is no vcmdq %" PRId64, vcmdq);
            return true;
        }
        cmdqv_raise(&s->q[vcmdq],
                    qdict_get_try_int(args, "bits", 2) & 7, 0);
    } else {
        return false;
    }
    return true;
}

/* The index of a queue or VINTF, where "any" stands for all */
static int64_t fault_index(QDict *args)
{
    int64_t index = qdict_get_try_int(args, "index", CMDQV_ALL);

    return qdict_get_try_int(args, "vcmdq", index);
}

static void inject_lasting(Tegra241CmdqvState *s, const char *fault,
                           QDict *args, Error **errp)
{
    const char *what = qdict_get_try_str(args, "what");
    CmdqvFault *f;
    int i;

    for (i = 0; i < ARRAY_SIZE(kinds) && strcmp(kinds[i], fault); i++) {
    }
    if (i == ARRAY_SIZE(kinds)) {
        error_setg(errp, "unknown fault %s", fault);
        return;
    }

    f = g_new0(CmdqvFault, 1);
    f->kind = kinds[i];
    f->index = fault_index(args);
    f->code = qdict_get_try_int(args, "code", 1) & 0x7f;
    f->at = qdict_get_try_int(args, "at", 1);
    f->count = qdict_get_try_int(args, "count", strcmp(fault, "drop") ? 1 : -1);
    if (!strcmp(fault, "drop")) {
        what = qdict_get_try_str(args, "opcode");
    }
    f->what = g_strdup(what ? what : "");
    s->faults = g_slist_append(s->faults, f);
}

void cmdqv_inject(Tegra241CmdqvState *s, const char *json, Error **errp)
{
    g_autoptr(QDict) args = NULL;
    QObject *obj = qobject_from_json(json, errp);
    const char *fault;

    if (!obj) {
        return;
    }
    args = qobject_to(QDict, obj);
    if (!args) {
        qobject_unref(obj);
        error_setg(errp, "a fault is a JSON object");
        return;
    }
    fault = qdict_get_try_str(args, "fault");
    if (!fault) {
        error_setg(errp, "no fault named");
        return;
    }
    if (!inject_now(s, fault, args, errp)) {
        inject_lasting(s, fault, args, errp);
    }
}
