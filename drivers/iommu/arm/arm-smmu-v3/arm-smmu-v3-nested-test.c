// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of nested translation: what a guest's stream table entries and
 * commands become, and how the hardware sees one entry turn into another.
 *
 * What is expected is written down in bits, as the architecture has it, rather
 * than with the driver's names for them.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <kunit/test.h>
#include <linux/io-pgtable.h>

#include "../../iommufd/iommufd_private.h"
#include "arm-smmu-v3.h"

#define VSID		0x123
#define SID		0x89abcdef
#define VMID		0xabcd

/* An STE's first word */
#define V		BIT_ULL(0)
#define CFG(x)		((u64)(x) << 1)
#define ABORT		0
#define BYPASS		4
#define S1		5
#define S2		6
#define NESTED		7
#define S1FMT(x)	((u64)(x) << 4)
#define CTXPTR		0x000fffffffffffc0
#define S1CDMAX(x)	((u64)(x) << 59)
#define ALLOWED_0	0xf80fffffffffffff

/* Its second word */
#define S1DSS(x)	((u64)(x) << 0)
#define S1CIR(x)	((u64)(x) << 2)
#define S1COR(x)	((u64)(x) << 4)
#define S1CSH(x)	((u64)(x) << 6)
#define MEV		BIT_ULL(19)
#define S2FWB		BIT_ULL(25)
#define S1STALLD	BIT_ULL(27)
#define EATS(x)		((u64)(x) << 28)
#define INCOMING	BIT_ULL(44)
#define ALLOWED_1	0x380000ff

/* The rest, for the parent that test_init() makes: VMID, VTCR, AA64, PTW, R */
#define PARENT_2	0x044db9580000abcd
#define S2S		BIT_ULL(57)
#define S2ENDI		BIT_ULL(52)
#define PARENT_3	0x000dbeefdeadbee0

/* Two guest's entries, the second with either S1DSS */
#define FIRST_A		(V | CFG(S1) | S1FMT(2) | 0x1234567890c0 | S1CDMAX(8))
#define FIRST_B		(V | CFG(S1) | 0xba9876543200)
#define SECOND		(S1DSS(2) | S1CIR(1) | S1COR(1) | S1CSH(3))

struct fixture {
	struct arm_smmu_device smmu;
	struct arm_smmu_master master;
	struct arm_smmu_stream stream;
	struct device dev;
	struct dev_iommu dev_iommu;
	struct iommufd_device idev;
	struct iommufd_vdevice vdev;
	struct io_pgtable pgtable;
	struct arm_smmu_domain s2_parent;
	struct arm_vsmmu vsmmu;
	struct arm_smmu_nested_domain nested;
};

/* What the host's entry depends on, beside the guest's */
enum setting {
	ATS		= BIT(0),
	FWB		= BIT(1),
	STALL_MODEL	= BIT(2),	/* the SMMU can stall */
	STALLS		= BIT(3),	/* the device can */
	OVR		= BIT(4),	/* attributes can be overridden */
	E2H		= BIT(5),	/* the host runs at EL2 */
	SETTINGS	= BIT(6),
};

static void set(struct fixture *f, unsigned int setting)
{
	f->smmu.features = (setting & STALL_MODEL ? ARM_SMMU_FEAT_STALLS : 0) |
			   (setting & OVR ? ARM_SMMU_FEAT_ATTR_TYPES_OVR : 0) |
			   (setting & E2H ? ARM_SMMU_FEAT_E2H : 0);
	f->master.stall_enabled = setting & STALLS;
	f->pgtable.cfg.quirks = setting & FWB ? IO_PGTABLE_QUIRK_ARM_S2FWB : 0;
}

static int check_vste(struct fixture *f, u64 first, u64 second)
{
	__le64 vste[] = { cpu_to_le64(first), cpu_to_le64(second) };

	/* Whatever was there has to go */
	f->nested.cfg = ~0;
	f->nested.enable_ats = true;
	memset(f->nested.ste, 0xff, sizeof(f->nested.ste));
	return arm_smmu_check_vste(&f->nested, vste);
}

/* The host's entry for a guest's one */
static struct arm_smmu_ste make_ste(struct kunit *test, u64 first, u64 second,
				    unsigned int setting)
{
	struct fixture *f = test->priv;
	struct arm_smmu_ste ste;

	set(f, setting);
	KUNIT_ASSERT_EQ_MSG(test, check_vste(f, first, second), 0,
			    "vSTE %016llx %016llx", first, second);
	memset(&ste, 0xff, sizeof(ste));
	arm_smmu_make_nested_ste(&ste, &f->master, &f->nested, setting & ATS);
	return ste;
}

static struct arm_smmu_ste expected_ste(u64 first, u64 second,
					unsigned int setting)
{
	unsigned int cfg = first & V ? (first >> 1) & 7 : ABORT;
	u64 ste[STRTAB_STE_DWORDS] = { V | CFG(cfg) };
	struct arm_smmu_ste le;
	unsigned int i;

	if (cfg != ABORT) {
		ste[0] = V | CFG(S2);
		ste[1] = (setting & ATS ? EATS(1) : 0) |
			 (setting & FWB ? S2FWB : 0) |
			 (setting & OVR ? INCOMING : 0);
		ste[2] = PARENT_2 | (setting & STALLS ? S2S : 0);
		if (IS_ENABLED(CONFIG_CPU_BIG_ENDIAN))
			ste[2] |= S2ENDI;
		ste[3] = PARENT_3;
	}
	if (cfg == S1) {
		ste[0] = (first & ~CFG(7)) | CFG(NESTED);
		ste[1] |= (second & ~EATS(3)) | MEV;
		if ((setting & STALL_MODEL) && !(setting & STALLS))
			ste[1] |= S1STALLD;
	}
	for (i = 0; i < STRTAB_STE_DWORDS; i++)
		le.data[i] = cpu_to_le64(ste[i]);
	return le;
}

static void expect_ste(struct kunit *test, u64 first, u64 second)
{
	unsigned int setting;

	for (setting = 0; setting < SETTINGS; setting++) {
		struct arm_smmu_ste expected, ste;

		expected = expected_ste(first, second, setting);
		ste = make_ste(test, first, second, setting);
		KUNIT_ASSERT_MEMEQ_MSG(test, &ste, &expected, sizeof(ste),
				       "vSTE %016llx %016llx, setting %x",
				       first, second, setting);
	}
}

/* The host's entry */

static void invalid_vste_aborts(struct kunit *test)
{
	expect_ste(test, 0, 0);
	expect_ste(test, ~V, ~0ULL);
	expect_ste(test, CFG(S1), SECOND);
}

static void vste_that_aborts_aborts(struct kunit *test)
{
	expect_ste(test, V | CFG(ABORT), 0);
	expect_ste(test, ALLOWED_0 & ~CFG(7), ALLOWED_1 & ~EATS(2));
}

static void vste_that_bypasses_has_stage_2_alone(struct kunit *test)
{
	expect_ste(test, V | CFG(BYPASS), 0);
	expect_ste(test, V | CFG(BYPASS), EATS(1));
	expect_ste(test, (ALLOWED_0 & ~CFG(7)) | CFG(BYPASS),
		   ALLOWED_1 & ~EATS(2));
}

static void first_word_of_stage_1_is_the_guests(struct kunit *test)
{
	static const u64 ptrs[] = { 0, 0x40, 0x123456789c0, CTXPTR };
	static const u8 maxes[] = { 0, 1, 20, 31 };
	unsigned int n;

	for (n = 0; n < 64; n++)
		expect_ste(test,
			   V | CFG(S1) | S1FMT(n % 4) | ptrs[n / 4 % 4] |
				   S1CDMAX(maxes[n / 16]),
			   SECOND);
}

static void second_word_of_stage_1_is_the_guests(struct kunit *test)
{
	unsigned int n;

	for (n = 0; n < 1024; n++)
		expect_ste(test, FIRST_A,
			   (n & 0xff) | (n & 0x100 ? S1STALLD : 0) |
				   EATS(n / 512));
}

/* Which entries a guest may have */

static void flip_each_bit_of_vste(struct kunit *test, unsigned int cfg)
{
	struct fixture *f = test->priv;
	u64 base = V | CFG(cfg);
	unsigned int bit;

	for (bit = 0; bit < 64; bit++) {
		bool allowed = BIT_ULL(bit) & ALLOWED_0;

		/* V and Config have tests of their own */
		if (bit >= 4)
			KUNIT_EXPECT_EQ_MSG(test,
					    check_vste(f, base | BIT_ULL(bit), 0),
					    allowed ? 0 : -EIO,
					    "Config %u, bit %u", cfg, bit);

		/* The upper bit of EATS alone is EATS 2 */
		allowed = BIT_ULL(bit) & ALLOWED_1 & ~EATS(2);
		KUNIT_EXPECT_EQ_MSG(test, check_vste(f, base, BIT_ULL(bit)),
				    allowed ? 0 : -EIO,
				    "Config %u, bit 64 + %u", cfg, bit);
	}
}

static void each_other_bit_of_a_vste_is_refused(struct kunit *test)
{
	flip_each_bit_of_vste(test, ABORT);
	flip_each_bit_of_vste(test, BYPASS);
	flip_each_bit_of_vste(test, S1);
}

static void invalid_vste_may_have_any_bit(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int bit;

	for (bit = 0; bit < 128; bit++) {
		u64 first = bit < 64 ? BIT_ULL(bit) & ~V : 0;
		u64 second = bit < 64 ? 0 : BIT_ULL(bit - 64);

		KUNIT_EXPECT_EQ_MSG(test, check_vste(f, first, second), 0,
				    "bit %u", bit);
		KUNIT_EXPECT_EQ(test, f->nested.cfg, ABORT);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(f->nested.ste[0]), 0);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(f->nested.ste[1]), 0);
		KUNIT_EXPECT_FALSE(test, f->nested.enable_ats);
	}
}

static void config_and_eats_are_those_a_guest_can_have(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int cfg, eats;

	for (cfg = 0; cfg < 8; cfg++) {
		for (eats = 0; eats < 4; eats++) {
			bool good = (cfg == ABORT || cfg == BYPASS || cfg == S1) &&
				    eats < 2;

			KUNIT_EXPECT_EQ_MSG(test,
					    check_vste(f, V | CFG(cfg),
						       EATS(eats)),
					    good ? 0 : -EIO,
					    "Config %u, EATS %u", cfg, eats);
			if (!good)
				continue;
			KUNIT_EXPECT_EQ(test, f->nested.cfg, cfg);
			KUNIT_EXPECT_EQ(test, f->nested.enable_ats,
					cfg == S1 && eats == 1);
		}
	}
}

/* From one entry to another */

struct writer {
	struct arm_smmu_entry_writer writer;
	struct kunit *test;
	const struct arm_smmu_ste *from;
	const struct arm_smmu_ste *to;
	struct arm_smmu_ste seen;	/* what the last sync made sure of */
	const struct arm_smmu_ste *ste;
	unsigned int num_syncs;
	bool broke;
};

/* MEV, and EATS where no illegal entry can come of it, may be of the other one */
static u64 safe_bits(const struct arm_smmu_ste *from,
		     const struct arm_smmu_ste *to)
{
	bool s2s = (le64_to_cpu(from->data[2]) | le64_to_cpu(to->data[2])) & S2S;

	return MEV | (s2s ? 0 : EATS(3));
}

/* The hardware would do the same with @ste as with @like */
static bool same_use(const struct arm_smmu_ste *ste,
		     const struct arm_smmu_ste *like, u64 safe)
{
	__le64 used[STRTAB_STE_DWORDS] = {};
	unsigned int i;

	arm_smmu_get_ste_used(ste->data, used);
	used[1] &= ~cpu_to_le64(safe);
	for (i = 0; i < STRTAB_STE_DWORDS; i++) {
		__le64 wanted = like->data[i];

		if (i == 1)
			wanted &= ~cpu_to_le64(safe);
		if ((ste->data[i] & used[i]) != wanted)
			return false;
	}
	return true;
}

static void check_seen(struct writer *w, const struct arm_smmu_ste *ste)
{
	u64 eats = le64_to_cpu(ste->data[1]) & EATS(3);

	if (!(ste->data[0] & cpu_to_le64(V))) {
		w->broke = true;
		return;
	}
	KUNIT_EXPECT_TRUE(w->test,
			  same_use(ste, w->from, safe_bits(w->from, w->to)) ||
			  same_use(ste, w->to, safe_bits(w->from, w->to)));
	KUNIT_EXPECT_TRUE(w->test,
			  eats == (le64_to_cpu(w->from->data[1]) & EATS(3)) ||
			  eats == (le64_to_cpu(w->to->data[1]) & EATS(3)));
}

/*
 * The hardware reads an entry in words of 64 bits, in any order. So until the
 * sync it may have seen any mixture of the words before and after.
 */
static void check_mixtures(struct arm_smmu_entry_writer *writer)
{
	struct writer *w = container_of(writer, struct writer, writer);
	struct arm_smmu_ste mixture;
	unsigned int words, i;

	for (words = 0; words < BIT(4); words++) {
		mixture = *w->ste;
		for (i = 0; i < 4; i++)
			if (words & BIT(i))
				mixture.data[i] = w->seen.data[i];
		check_seen(w, &mixture);
	}
	w->seen = *w->ste;
	w->num_syncs++;
}

static const struct arm_smmu_entry_writer_ops writer_ops = {
	.sync = check_mixtures,
	.get_used = arm_smmu_get_ste_used,
	.get_update_safe = arm_smmu_get_ste_update_safe,
};

/* Entries of the host, by what decides about them */
struct entry {
	u64 first;		/* of the guest's entry */
	u64 second;
	unsigned int setting;
	u16 vmid;		/* 0: the parent's */
	enum { OF_GUEST, OF_HOST, IDENTITY } kind;
};

#define GUEST(_first, _second, ...)	\
	{ .first = _first, .second = _second, __VA_ARGS__ }
#define S2_ALONE(...)	{ .first = V | CFG(BYPASS), __VA_ARGS__ }
#define ABORTS		{ .first = V | CFG(ABORT) }
#define HOST_S1(_first, _second, ...)	\
	{ .first = _first, .second = _second, .kind = OF_HOST, __VA_ARGS__ }

static struct arm_smmu_ste make_entry(struct kunit *test,
				      const struct entry *entry)
{
	struct fixture *f = test->priv;
	unsigned int setting = entry->setting | STALL_MODEL | OVR;
	struct arm_smmu_ste ste;

	set(f, setting);
	switch (entry->kind) {
	case OF_GUEST:
		f->s2_parent.s2_cfg.vmid = entry->vmid ?: VMID;
		ste = make_ste(test, entry->first, entry->second, setting);
		break;
	case OF_HOST:
		f->master.cd_table.cdtab_dma = entry->first & CTXPTR;
		arm_smmu_make_cdtable_ste(&ste, &f->master, setting & ATS,
					  entry->second & S1DSS(3));
		break;
	case IDENTITY:
		arm_smmu_make_bypass_ste(&f->smmu, &ste);
		break;
	}
	return ste;
}

struct transition {
	const char *name;
	struct entry from;
	struct entry to;
	unsigned int num_syncs;
	bool breaks;
};

/*
 * One sync for a change of one word. One more for each of: words are filled that
 * were not in use, MEV or EATS go ahead, words are cleared that are not in use
 * any more. Three for a change with a break.
 */
static const struct transition transitions[] = {
	{ "nested to itself",
	  GUEST(FIRST_A, SECOND), GUEST(FIRST_A, SECOND), 0 },
	{ "nested, other S1DSS",
	  GUEST(FIRST_A, SECOND), GUEST(FIRST_A, SECOND ^ S1DSS(3)), 1 },
	{ "nested, other S1DSS, with ATS from now on",
	  GUEST(FIRST_A, SECOND),
	  GUEST(FIRST_A, SECOND ^ S1DSS(3), .setting = ATS), 1 },
	{ "nested, other S1ContextPtr",
	  GUEST(FIRST_A, SECOND), GUEST(FIRST_B, SECOND), 1 },
	{ "nested, other S1ContextPtr, with ATS from now on",
	  GUEST(FIRST_A, SECOND), GUEST(FIRST_B, SECOND, .setting = ATS), 2 },
	{ "nested, other S1ContextPtr, without ATS from now on",
	  GUEST(FIRST_A, SECOND, .setting = ATS), GUEST(FIRST_B, SECOND), 2 },
	{ "nested, other S1ContextPtr and S1DSS",
	  GUEST(FIRST_A, SECOND), GUEST(FIRST_B, SECOND ^ S1DSS(3)), 3, true },
	{ "nested, ATS from now on",
	  GUEST(FIRST_A, SECOND), GUEST(FIRST_A, SECOND, .setting = ATS), 1 },
	{ "nested, no ATS from now on",
	  GUEST(FIRST_A, SECOND, .setting = ATS), GUEST(FIRST_A, SECOND), 1 },
	{ "nested, other S1ContextPtr and EATS, which S2S is illegal with",
	  GUEST(FIRST_A, SECOND, .setting = STALLS),
	  GUEST(FIRST_B, SECOND, .setting = STALLS | ATS), 3, true },
	{ "nested, other VM",
	  GUEST(FIRST_A, SECOND), GUEST(FIRST_B, SECOND, .vmid = 7), 3, true },
	{ "nested to stage 2",
	  GUEST(FIRST_A, SECOND), S2_ALONE(), 3 },
	{ "nested to stage 2, both with ATS and S2FWB",
	  GUEST(FIRST_A, SECOND, .setting = ATS | FWB),
	  S2_ALONE(.setting = ATS | FWB), 3 },
	{ "nested to stage 2, with ATS from now on",
	  GUEST(FIRST_A, SECOND), S2_ALONE(.setting = ATS), 3 },
	{ "nested that bypasses stage 1 to stage 2",
	  GUEST(FIRST_A, S1DSS(1)), S2_ALONE(), 3 },
	{ "stage 2 to nested",
	  S2_ALONE(), GUEST(FIRST_A, SECOND), 2 },
	{ "stage 2 to nested, both with ATS and S2FWB",
	  S2_ALONE(.setting = ATS | FWB),
	  GUEST(FIRST_A, SECOND, .setting = ATS | FWB), 2 },
	{ "stage 2 to nested, without ATS from now on",
	  S2_ALONE(.setting = ATS), GUEST(FIRST_A, SECOND), 2 },
	{ "stage 2 to nested that bypasses stage 1",
	  S2_ALONE(), GUEST(FIRST_A, S1DSS(1)), 2 },
	{ "nested to abort",
	  GUEST(FIRST_A, SECOND, .setting = ATS | FWB), ABORTS, 3 },
	{ "abort to nested",
	  ABORTS, GUEST(FIRST_A, SECOND, .setting = ATS | FWB), 2 },
	{ "stage 2 with S2FWB to abort",
	  S2_ALONE(.setting = FWB), ABORTS, 2 },
	{ "stage 2 with S2FWB and ATS to abort",
	  S2_ALONE(.setting = FWB | ATS), ABORTS, 3 },
	{ "abort to stage 2 with S2FWB",
	  ABORTS, S2_ALONE(.setting = FWB | ATS), 2 },
	{ "stage 2, S2FWB from now on",
	  S2_ALONE(), S2_ALONE(.setting = FWB), 1 },
	{ "stage 2, S2FWB in another VM",
	  S2_ALONE(), S2_ALONE(.setting = FWB, .vmid = 7), 3, true },
	{ "stage 2, ATS from now on",
	  S2_ALONE(), S2_ALONE(.setting = ATS), 1 },
	{ "stage 2, no ATS from now on",
	  S2_ALONE(.setting = ATS), S2_ALONE(), 1 },
	{ "stage 2 of another VM, without ATS from now on",
	  S2_ALONE(.setting = ATS), S2_ALONE(.vmid = 7), 2 },
	{ "nested to the host's stage 1",
	  GUEST(FIRST_A, SECOND), HOST_S1(FIRST_B, S1DSS(2)), 3, true },
	{ "the host's stage 1 to nested",
	  HOST_S1(FIRST_B, S1DSS(2)), GUEST(FIRST_A, SECOND), 3, true },
	{ "the host's stage 1 to stage 2 with S2FWB",
	  HOST_S1(FIRST_B, S1DSS(2)), S2_ALONE(.setting = FWB), 3, true },
	{ "the host's stage 1, ATS from now on",
	  HOST_S1(FIRST_B, S1DSS(2)),
	  HOST_S1(FIRST_B, S1DSS(2), .setting = ATS), 1 },
	{ "nested to identity",
	  GUEST(FIRST_A, SECOND, .setting = ATS), { .kind = IDENTITY }, 3 },
	{ "identity to nested",
	  { .kind = IDENTITY }, GUEST(FIRST_A, SECOND, .setting = ATS), 2 },
};

KUNIT_ARRAY_PARAM_DESC(transitions, transitions, name);

static void no_torn_ste_is_in_use(struct kunit *test)
{
	const struct transition *t = test->param_value;
	struct arm_smmu_ste from = make_entry(test, &t->from);
	struct arm_smmu_ste to = make_entry(test, &t->to);
	struct arm_smmu_ste ste = from;
	struct writer w = {
		.writer.ops = &writer_ops,
		.test = test,
		.from = &from,
		.to = &to,
		.seen = from,
		.ste = &ste,
	};

	/* Nothing in it that the driver forgets the hardware uses */
	KUNIT_EXPECT_TRUE(test, same_use(&to, &to, 0));

	arm_smmu_write_entry(&w.writer, ste.data, to.data);
	KUNIT_EXPECT_MEMEQ(test, &ste, &to, sizeof(ste));
	KUNIT_EXPECT_MEMEQ(test, &w.seen, &to, sizeof(ste));
	KUNIT_EXPECT_EQ(test, w.num_syncs, t->num_syncs);
	KUNIT_EXPECT_EQ(test, w.broke, t->breaks);
}

static void eats_is_safe_unless_it_makes_an_ste_illegal(struct kunit *test)
{
	static const struct {
		u64 second;
		u64 third;
		u64 safe;
	} cases[] = {
		{ EATS(0), 0, MEV | EATS(3) },
		{ EATS(1), 0, MEV | EATS(3) },
		{ EATS(1), PARENT_2, MEV | EATS(3) },
		{ EATS(2), 0, MEV },
		{ EATS(0), S2S, MEV },
		{ EATS(1), S2S, MEV },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		const __le64 plain[STRTAB_STE_DWORDS] = {};
		const __le64 ste[STRTAB_STE_DWORDS] = {
			[1] = cpu_to_le64(cases[i].second),
			[2] = cpu_to_le64(cases[i].third),
		};
		__le64 expected[STRTAB_STE_DWORDS] = {
			[1] = cpu_to_le64(cases[i].safe),
		};
		__le64 safe[STRTAB_STE_DWORDS] = {};

		arm_smmu_get_ste_update_safe(ste, plain, safe);
		KUNIT_EXPECT_MEMEQ_MSG(test, safe, expected, sizeof(safe),
				       "case %u", i);
		memset(safe, 0, sizeof(safe));
		arm_smmu_get_ste_update_safe(plain, ste, safe);
		KUNIT_EXPECT_MEMEQ_MSG(test, safe, expected, sizeof(safe),
				       "case %u, the other way", i);
	}
}

/* Commands */

#define NSNH_ALL	0x30
#define NH_ALL		0x10
#define NH_ASID		0x11
#define NH_VA		0x12
#define NH_VAA		0x13
#define ATC_INV		0x40
#define CFGI_CD		0x05
#define CFGI_CD_ALL	0x06

static const u8 opcodes[] = {
	NSNH_ALL, NH_ALL, NH_ASID, NH_VA, NH_VAA, ATC_INV, CFGI_CD, CFGI_CD_ALL,
};

static bool has_sid(u8 opcode)
{
	return opcode == ATC_INV || opcode == CFGI_CD || opcode == CFGI_CD_ALL;
}

static bool has_range(u8 opcode)
{
	return opcode == NH_VA || opcode == NH_VAA;
}

static void add_vdevice(struct kunit *test, u32 vsid)
{
	struct fixture *f = test->priv;

	KUNIT_ASSERT_EQ(test,
			xa_err(xa_store(&f->vsmmu.core.vdevs, vsid, &f->vdev,
					GFP_KERNEL)),
			0);
}

static int convert(struct fixture *f, u64 first, u64 second)
{
	u64 cmd[CMDQ_ENT_DWORDS] = { first, second };

	return arm_vsmmu_convert_cmd(&f->vsmmu, cmd);
}

static void other_opcodes_are_refused(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int opcode, i;

	add_vdevice(test, 0);
	for (opcode = 0; opcode < 256; opcode++) {
		bool known = false;

		for (i = 0; i < ARRAY_SIZE(opcodes); i++)
			known |= opcode == opcodes[i];
		KUNIT_EXPECT_EQ_MSG(test, convert(f, opcode, 0),
				    known ? 0 : -EIO, "opcode %02x", opcode);
	}
}

static void no_atc_is_invalidated_without_ats(struct kunit *test)
{
	struct fixture *f = test->priv;

	add_vdevice(test, 0);
	f->smmu.features &= ~ARM_SMMU_FEAT_ATS;
	KUNIT_EXPECT_EQ(test, convert(f, ATC_INV, 0), -EIO);
	KUNIT_EXPECT_EQ(test, convert(f, CFGI_CD, 0), 0);
}

/* Bits of a command that a guest decides about, or that the host replaces */
static void allowed_bits(const struct arm_smmu_device *smmu, u8 opcode,
			 u64 *allowed)
{
	bool ril = smmu->features & ARM_SMMU_FEAT_RANGE_INV;
	u64 asid = smmu->asid_bits == 16 ? 0xffff000000000000 :
					   0x00ff000000000000;
	u64 ssid = (BIT_ULL(smmu->ssid_bits) - 1) << 12;

	allowed[0] = 0;
	allowed[1] = 0;
	switch (opcode) {
	case NH_ALL:
	case NH_ASID:
	case NH_VA:
	case NH_VAA:
		allowed[0] = 0x0000ffff00000000;
		break;
	case ATC_INV:
	case CFGI_CD:
	case CFGI_CD_ALL:
		allowed[0] = 0xffffffff00000000;
		break;
	}
	if (opcode == NH_ASID || opcode == NH_VA)
		allowed[0] |= asid;
	if (has_range(opcode)) {
		allowed[0] |= ril ? 0x01f1f000 : 0;
		allowed[1] = 0xfffffffffffff001 | (ril ? 0xf00 : 0);
	}
	if (opcode == ATC_INV) {
		allowed[0] |= ssid | (ssid ? BIT(11) | BIT(9) : 0);
		allowed[1] = 0xfffffffffffff03f;
	}
	if (opcode == CFGI_CD) {
		allowed[0] |= ssid;
		allowed[1] = BIT(0);
	}
}

static void flip_each_bit(struct kunit *test, u8 opcode)
{
	struct fixture *f = test->priv;
	bool ril = f->smmu.features & ARM_SMMU_FEAT_RANGE_INV;
	u64 allowed[2], base[2] = { opcode };
	unsigned int bit;

	/* NUM, TG and TTL such that each of their bits can change */
	if (ril && has_range(opcode)) {
		base[0] |= 1 << 12;
		base[1] |= 3 << 10 | 2 << 8;
	}
	allowed_bits(&f->smmu, opcode, allowed);

	/* A change of the opcode makes another command */
	for (bit = 8; bit < 128; bit++) {
		u64 cmd[2] = { base[0], base[1] };
		u64 expected[2];

		cmd[bit / 64] ^= BIT_ULL(bit % 64);
		expected[0] = opcode == NSNH_ALL ? NH_ALL : cmd[0];
		expected[1] = cmd[1];
		if (has_sid(opcode))
			expected[0] = (cmd[0] & 0xffffffff) | (u64)SID << 32;
		else
			expected[0] = (expected[0] & 0xffff0000ffffffff) |
				      (u64)VMID << 32;

		if (!(allowed[bit / 64] & BIT_ULL(bit % 64))) {
			KUNIT_ASSERT_EQ_MSG(test, convert(f, cmd[0], cmd[1]),
					    -EIO, "opcode %02x, bit %u", opcode,
					    bit);
			continue;
		}
		KUNIT_ASSERT_EQ_MSG(test, arm_vsmmu_convert_cmd(&f->vsmmu, cmd),
				    0, "opcode %02x, bit %u", opcode, bit);
		KUNIT_ASSERT_MEMEQ_MSG(test, cmd, expected, sizeof(cmd),
				       "opcode %02x, bit %u", opcode, bit);
	}
}

static void each_other_bit_of_a_command_is_refused(struct kunit *test)
{
	static const u8 ssid_bits[] = { 0, 5, 20 };
	struct fixture *f = test->priv;
	unsigned int n, bit, op;

	/* A bit of the stream ID that is flipped should find one, too */
	add_vdevice(test, 0);
	for (bit = 0; bit < 32; bit++)
		add_vdevice(test, BIT(bit));

	for (n = 0; n < 8 * ARRAY_SIZE(ssid_bits); n++) {
		f->smmu.features = ARM_SMMU_FEAT_ATS |
				   (n & 1 ? ARM_SMMU_FEAT_RANGE_INV : 0) |
				   (n & 2 ? ARM_SMMU_FEAT_E2H : 0);
		f->smmu.asid_bits = n & 4 ? 16 : 8;
		f->smmu.ssid_bits = ssid_bits[n / 8];
		for (op = 0; op < ARRAY_SIZE(opcodes); op++)
			flip_each_bit(test, opcodes[op]);
	}
}

static void each_bit_of_atc_inv_is_refused_without_ats(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int bit;

	add_vdevice(test, 0);
	f->smmu.features &= ~ARM_SMMU_FEAT_ATS;
	for (bit = 8; bit < 128; bit++)
		KUNIT_EXPECT_EQ_MSG(test,
				    convert(f,
					    ATC_INV |
						    (bit < 64 ? BIT_ULL(bit) : 0),
					    bit < 64 ? 0 : BIT_ULL(bit - 64)),
				    -EIO, "bit %u", bit);
}

static void guests_vmid_becomes_the_vms(struct kunit *test)
{
	struct fixture *f = test->priv;
	u64 nsnh_all[] = { NSNH_ALL, 0 };
	u64 nh_va[] = { NH_VA | 0x1234fedcULL << 32, 0xfffffffffffff001 };

	KUNIT_EXPECT_EQ(test, arm_vsmmu_convert_cmd(&f->vsmmu, nsnh_all), 0);
	KUNIT_EXPECT_EQ(test, nsnh_all[0], NH_ALL | (u64)VMID << 32);
	KUNIT_EXPECT_EQ(test, nsnh_all[1], 0);

	KUNIT_EXPECT_EQ(test, arm_vsmmu_convert_cmd(&f->vsmmu, nh_va), 0);
	KUNIT_EXPECT_EQ(test, nh_va[0], NH_VA | 0x1234abcdULL << 32);
	KUNIT_EXPECT_EQ(test, nh_va[1], 0xfffffffffffff001);
}

static void range_is_one_that_the_architecture_has(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int n;

	for (n = 0; n < BIT(15); n++) {
		u64 num = n & 31, scale = n >> 5 & 31;
		u64 ttl = n >> 10 & 3, tg = n >> 12 & 3;
		u64 first = num << 12 | scale << 20;
		u64 second = ttl << 8 | tg << 10;
		bool ril = n >> 14;
		/* No range without a granule, no granule without a range */
		bool legal = tg ? ril && (num || scale || ttl) :
				  !num && !scale && !ttl;

		/* 16 KiB, level 1 */
		if (tg == 2 && ttl == 1)
			legal = false;
		f->smmu.features = ril ? ARM_SMMU_FEAT_RANGE_INV : 0;
		KUNIT_ASSERT_EQ_MSG(test, convert(f, NH_VA | first, second),
				    legal ? 0 : -EIO, "RIL %u, %llx %llx", ril,
				    first, second);
		KUNIT_ASSERT_EQ_MSG(test, convert(f, NH_VAA | first, second),
				    legal ? 0 : -EIO, "RIL %u, %llx %llx", ril,
				    first, second);
	}
}

static void size_of_atc_inv_is_at_most_all(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int size;

	add_vdevice(test, 0);
	for (size = 0; size < 64; size++)
		KUNIT_EXPECT_EQ_MSG(test, convert(f, ATC_INV, size),
				    size <= 52 ? 0 : -EIO, "size %u", size);
}

static void vsid_becomes_the_sid(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int i;

	add_vdevice(test, VSID);
	/* A vDEVICE that the driver has not accepted yet */
	KUNIT_ASSERT_EQ(test, xa_insert(&f->vsmmu.core.vdevs, VSID + 1, NULL,
					GFP_KERNEL), 0);

	for (i = 0; i < ARRAY_SIZE(opcodes); i++) {
		u64 cmd[] = { opcodes[i] | (u64)VSID << 32, 0 };

		if (!has_sid(opcodes[i]))
			continue;
		KUNIT_EXPECT_EQ(test, arm_vsmmu_convert_cmd(&f->vsmmu, cmd), 0);
		KUNIT_EXPECT_EQ(test, cmd[0], opcodes[i] | (u64)SID << 32);
		KUNIT_EXPECT_EQ(test, cmd[1], 0);

		KUNIT_EXPECT_EQ(test,
				convert(f, opcodes[i] | (VSID + 1ULL) << 32, 0),
				-EIO);
		/* Nor is a device found by its physical stream ID */
		KUNIT_EXPECT_EQ(test, convert(f, opcodes[i] | (u64)SID << 32, 0),
				-EIO);
		KUNIT_EXPECT_EQ(test, convert(f, opcodes[i], 0), -EIO);
	}
}

static void set_up_parent(struct fixture *f)
{
	struct io_pgtable_cfg *cfg = &f->pgtable.cfg;

	cfg->arm_lpae_s2_cfg.vttbr = 0xdaedbeefdeadbeefULL;
	cfg->arm_lpae_s2_cfg.vtcr.tsz = 24;
	cfg->arm_lpae_s2_cfg.vtcr.sl = 1;
	cfg->arm_lpae_s2_cfg.vtcr.irgn = 1;
	cfg->arm_lpae_s2_cfg.vtcr.orgn = 2;
	cfg->arm_lpae_s2_cfg.vtcr.sh = 3;
	cfg->arm_lpae_s2_cfg.vtcr.tg = 2;
	cfg->arm_lpae_s2_cfg.vtcr.ps = 5;
	f->s2_parent.pgtbl_ops = &f->pgtable.ops;
	f->s2_parent.s2_cfg.vmid = VMID;
}

static int arm_smmu_v3_nested_test_init(struct kunit *test)
{
	struct fixture *f;

	f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	if (!f)
		return -ENOMEM;

	set_up_parent(f);
	f->smmu.features = ARM_SMMU_FEAT_RANGE_INV | ARM_SMMU_FEAT_ATS;
	f->smmu.asid_bits = 16;
	f->smmu.ssid_bits = 20;

	f->stream.id = SID;
	f->master.smmu = &f->smmu;
	f->master.dev = &f->dev;
	f->master.streams = &f->stream;
	f->master.num_streams = 1;
	f->dev.iommu = &f->dev_iommu;
	f->dev_iommu.priv = &f->master;
	f->idev.dev = &f->dev;
	f->vdev.idev = &f->idev;

	xa_init(&f->vsmmu.core.vdevs);
	f->vsmmu.smmu = &f->smmu;
	f->vsmmu.s2_parent = &f->s2_parent;
	f->vsmmu.vmid = VMID;
	f->nested.vsmmu = &f->vsmmu;
	test->priv = f;
	return 0;
}

static void arm_smmu_v3_nested_test_exit(struct kunit *test)
{
	struct fixture *f = test->priv;

	if (f)
		xa_destroy(&f->vsmmu.core.vdevs);
}

static struct kunit_case arm_smmu_v3_nested_test_cases[] = {
	KUNIT_CASE(invalid_vste_aborts),
	KUNIT_CASE(vste_that_aborts_aborts),
	KUNIT_CASE(vste_that_bypasses_has_stage_2_alone),
	KUNIT_CASE(first_word_of_stage_1_is_the_guests),
	KUNIT_CASE(second_word_of_stage_1_is_the_guests),
	KUNIT_CASE(each_other_bit_of_a_vste_is_refused),
	KUNIT_CASE(invalid_vste_may_have_any_bit),
	KUNIT_CASE(config_and_eats_are_those_a_guest_can_have),
	KUNIT_CASE_PARAM(no_torn_ste_is_in_use, transitions_gen_params),
	KUNIT_CASE(eats_is_safe_unless_it_makes_an_ste_illegal),
	KUNIT_CASE(other_opcodes_are_refused),
	KUNIT_CASE(no_atc_is_invalidated_without_ats),
	KUNIT_CASE(each_other_bit_of_a_command_is_refused),
	KUNIT_CASE(each_bit_of_atc_inv_is_refused_without_ats),
	KUNIT_CASE(guests_vmid_becomes_the_vms),
	KUNIT_CASE(range_is_one_that_the_architecture_has),
	KUNIT_CASE(size_of_atc_inv_is_at_most_all),
	KUNIT_CASE(vsid_becomes_the_sid),
	{}
};

static struct kunit_suite arm_smmu_v3_nested_test_suite = {
	.name = "arm-smmu-v3-nested",
	.init = arm_smmu_v3_nested_test_init,
	.exit = arm_smmu_v3_nested_test_exit,
	.test_cases = arm_smmu_v3_nested_test_cases,
};

kunit_test_suite(arm_smmu_v3_nested_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_DESCRIPTION("KUnit tests of nested translation on the ARM SMMUv3");
MODULE_LICENSE("GPL");
