// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested translation: stage 1 belongs to a guest, stage 2 to the host.
 *
 * A vSMMU is what iommufd calls a vIOMMU: this SMMU and the stage 2 of one VM,
 * whose VMID it uses. A guest's stream table entry becomes a nested domain, and
 * its commands are checked and issued on the SMMU's own queue. Both would stop
 * the queue, or more, for all devices if what they hold were illegal, so
 * anything that this file does not know is refused.
 *
 * While a device is attached to a nested domain, its struct arm_smmu_vmaster
 * says which vSMMU gets its events, and under which stream ID. It is published
 * and read with arm_smmu_device::streams_mutex held. The vSMMU can't go
 * meanwhile, because the nested domain holds it. The vDEVICE can; that is why
 * the stream ID is a copy.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <kunit/visibility.h>
#include <linux/iommufd_viommu.h>
#include <linux/slab.h>

#include "arm-smmu-v3.h"

/* With the CMD_SYNC that is appended, a batch fills the valid map's word */
#define ARM_VSMMU_BATCH (CMDQ_BATCH_ENTRIES - 1)

void *arm_smmu_hw_info(struct device *dev, u32 *length, u32 *type)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_smmu_device *smmu = master->smmu;
	struct iommu_hw_info_arm_smmuv3 *info;
	unsigned int i;

	if (*type != IOMMU_HW_INFO_TYPE_DEFAULT &&
	    *type != IOMMU_HW_INFO_TYPE_ARM_SMMUV3) {
		if (!smmu->impl_ops || !smmu->impl_ops->hw_info)
			return ERR_PTR(-EOPNOTSUPP);
		return smmu->impl_ops->hw_info(smmu, length, type);
	}

	info = kzalloc(sizeof(*info), GFP_KERNEL);
	if (!info)
		return ERR_PTR(-ENOMEM);

	for (i = 0; i < ARRAY_SIZE(info->idr); i++)
		info->idr[i] = readl_relaxed(smmu->base + ARM_SMMU_IDR0 +
					     i * sizeof(u32));
	info->iidr = readl_relaxed(smmu->base + ARM_SMMU_IIDR);
	info->aidr = readl_relaxed(smmu->base + ARM_SMMU_AIDR);
	*length = sizeof(*info);
	*type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	return info;
}

/*
 * Without either of these a guest can make DMA incoherent, and KVM would not
 * know.
 */
static bool arm_vsmmu_is_coherent(struct arm_smmu_master *master)
{
	if ((master->smmu->features & ARM_SMMU_FEAT_S2FWB) ||
	    arm_smmu_master_canwbs(master))
		return true;

	dev_warn_ratelimited(master->dev,
			     "no vIOMMU: the SMMU has no S2FWB and the IORT does not say CANWBS; update the firmware if the hardware has it\n");
	return false;
}

size_t arm_smmu_get_viommu_size(struct device *dev, u32 type)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_smmu_device *smmu = master->smmu;

	if (!(smmu->features & ARM_SMMU_FEAT_NESTING) ||
	    (smmu->options & ARM_SMMU_OPT_CMDQ_FORCE_SYNC))
		return 0;
	if (!arm_vsmmu_is_coherent(master))
		return 0;

	if (type == IOMMU_VIOMMU_TYPE_ARM_SMMUV3)
		return iommufd_struct_size(struct arm_vsmmu, core);
	if (smmu->impl_ops && smmu->impl_ops->get_viommu_size)
		return smmu->impl_ops->get_viommu_size(smmu, type);
	return 0;
}

/* Which bits of an STE a guest decides about */
#define VSTE_0_ALLOWED                                                \
	(STRTAB_STE_0_V | STRTAB_STE_0_CFG | STRTAB_STE_0_S1FMT |     \
	 STRTAB_STE_0_S1CTXPTR_MASK | STRTAB_STE_0_S1CDMAX)
#define VSTE_1_ALLOWED                                                \
	(STRTAB_STE_1_S1DSS | STRTAB_STE_1_S1CIR | STRTAB_STE_1_S1COR | \
	 STRTAB_STE_1_S1CSH | STRTAB_STE_1_S1STALLD | STRTAB_STE_1_EATS)

/**
 * arm_smmu_check_vste() - Take over a guest's stream table entry
 * @nested: its stage 1 is set
 * @vste: the first two 64-bit words of the entry, little-endian
 *
 * Return: 0, -EIO if there is anything in the entry that a guest can't have.
 */
VISIBLE_IF_KUNIT
int arm_smmu_check_vste(struct arm_smmu_nested_domain *nested,
			const __le64 *vste)
{
	u64 ste0 = le64_to_cpu(vste[0]);
	u64 ste1 = le64_to_cpu(vste[1]);
	unsigned int eats = FIELD_GET(STRTAB_STE_1_EATS, ste1);

	nested->cfg = STRTAB_STE_0_CFG_ABORT;
	nested->ste[0] = 0;
	nested->ste[1] = 0;
	nested->enable_ats = false;

	/* The hardware would not look at the rest */
	if (!(ste0 & STRTAB_STE_0_V))
		return 0;

	if ((ste0 & ~VSTE_0_ALLOWED) || (ste1 & ~VSTE_1_ALLOWED))
		return -EIO;
	if (eats != STRTAB_STE_1_EATS_ABT && eats != STRTAB_STE_1_EATS_TRANS)
		return -EIO;

	switch (FIELD_GET(STRTAB_STE_0_CFG, ste0)) {
	case STRTAB_STE_0_CFG_ABORT:
	case STRTAB_STE_0_CFG_BYPASS:
		break;
	case STRTAB_STE_0_CFG_S1_TRANS:
		nested->enable_ats = eats == STRTAB_STE_1_EATS_TRANS;
		break;
	default:
		return -EIO;
	}
	nested->cfg = FIELD_GET(STRTAB_STE_0_CFG, ste0);
	nested->ste[0] = vste[0];
	nested->ste[1] = vste[1] & ~cpu_to_le64(STRTAB_STE_1_EATS);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_check_vste);

/**
 * arm_smmu_make_nested_ste() - The entry that gives a guest what it asked for
 * @target: where to store it
 * @master: device
 * @nested: the guest's entry and the stage 2 under it
 * @ats_enabled: whether the device may use ATS
 */
VISIBLE_IF_KUNIT
void arm_smmu_make_nested_ste(struct arm_smmu_ste *target,
			      struct arm_smmu_master *master,
			      struct arm_smmu_nested_domain *nested,
			      bool ats_enabled)
{
	if (nested->cfg == STRTAB_STE_0_CFG_ABORT) {
		arm_smmu_make_abort_ste(target);
		return;
	}

	arm_smmu_make_s2_domain_ste(target, master, nested->vsmmu->s2_parent,
				    ats_enabled);
	if (nested->cfg == STRTAB_STE_0_CFG_BYPASS)
		return;

	target->data[0] = nested->ste[0] & ~cpu_to_le64(STRTAB_STE_0_CFG);
	target->data[0] |= cpu_to_le64(FIELD_PREP(STRTAB_STE_0_CFG,
						  STRTAB_STE_0_CFG_NESTED));
	/* A guest may provoke faults without end: let the SMMU merge them */
	target->data[1] |= nested->ste[1] | cpu_to_le64(STRTAB_STE_1_MEV);
	/* Nobody would resume a device that is not known to stall */
	if ((master->smmu->features & ARM_SMMU_FEAT_STALLS) &&
	    !master->stall_enabled)
		target->data[1] |= cpu_to_le64(STRTAB_STE_1_S1STALLD);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_make_nested_ste);

/*
 * Only stage 1 needs to know the device's stream ID in the guest: for events and
 * for commands. A VMM attaches the others before its guest has named the device.
 */
int arm_smmu_attach_prepare_vmaster(struct arm_smmu_attach_state *state,
				    struct arm_smmu_nested_domain *nested)
{
	struct arm_smmu_vmaster *vmaster;
	unsigned long vsid;
	int ret;

	ret = iommufd_viommu_get_vdev_id(&nested->vsmmu->core,
					 state->master->dev, &vsid);
	if (ret)
		return nested->cfg == STRTAB_STE_0_CFG_S1_TRANS ? ret : 0;

	vmaster = kzalloc(sizeof(*vmaster), GFP_KERNEL);
	if (!vmaster)
		return -ENOMEM;
	vmaster->vsmmu = nested->vsmmu;
	vmaster->vsid = vsid;
	state->vmaster = vmaster;
	return 0;
}

/* From now on events of the master go to @vmaster's vSMMU, to none if NULL */
void arm_smmu_master_set_vmaster(struct arm_smmu_master *master,
				 struct arm_smmu_vmaster *vmaster)
{
	mutex_lock(&master->smmu->streams_mutex);
	swap(master->vmaster, vmaster);
	mutex_unlock(&master->smmu->streams_mutex);
	kfree(vmaster);
}

/**
 * arm_vmaster_report_event() - Hand an event to the guest that owns the device
 * @vmaster: device in the guest
 * @evt: the event's four 64-bit words as the SMMU wrote them
 *
 * Context: arm_smmu_device::streams_mutex is held.
 * Return: 0; -EOPNOTSUPP if the VMM doesn't want events.
 */
int arm_vmaster_report_event(struct arm_smmu_vmaster *vmaster, const u64 *evt)
{
	struct iommu_vevent_arm_smmuv3 vevt;
	unsigned int i;

	lockdep_assert_held(&vmaster->vsmmu->smmu->streams_mutex);

	vevt.evt[0] = cpu_to_le64((evt[0] & ~EVTQ_0_SID) |
				  FIELD_PREP(EVTQ_0_SID, vmaster->vsid));
	for (i = 1; i < EVTQ_ENT_DWORDS; i++)
		vevt.evt[i] = cpu_to_le64(evt[i]);
	return iommufd_viommu_report_event(&vmaster->vsmmu->core,
					   IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
					   &vevt, sizeof(vevt));
}

static int arm_smmu_attach_dev_nested(struct iommu_domain *domain,
				      struct device *dev)
{
	struct arm_smmu_nested_domain *nested = to_smmu_nested_domain(domain);
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_smmu_attach_state state = {
		.master = master,
		.old_domain = iommu_get_domain_for_dev(dev),
		.ssid = IOMMU_NO_PASID,
	};
	struct arm_smmu_ste ste;
	int ret;

	if (nested->vsmmu->smmu != master->smmu)
		return -EINVAL;
	if (arm_smmu_ssids_in_use(&master->cd_table))
		return -EBUSY;

	mutex_lock(&arm_smmu_asid_lock);
	/*
	 * A guest that leaves ATS off in its entry will not invalidate the
	 * device's cache; a stream that aborts answers no translation request.
	 */
	state.disable_ats = nested->cfg != STRTAB_STE_0_CFG_BYPASS &&
			    !nested->enable_ats;
	ret = arm_smmu_attach_prepare(&state, domain);
	if (ret)
		goto out_unlock;

	arm_smmu_make_nested_ste(&ste, master, nested, state.ats_enabled);
	arm_smmu_install_ste_for_dev(master, &ste);
	arm_smmu_clear_cd(master, IOMMU_NO_PASID);
	arm_smmu_attach_commit(&state);
out_unlock:
	mutex_unlock(&arm_smmu_asid_lock);
	return ret;
}

static void arm_smmu_domain_nested_free(struct iommu_domain *domain)
{
	kfree(to_smmu_nested_domain(domain));
}

static const struct iommu_domain_ops arm_smmu_nested_ops = {
	.attach_dev = arm_smmu_attach_dev_nested,
	.free = arm_smmu_domain_nested_free,
};

/**
 * arm_vsmmu_alloc_domain_nested() - Make a domain of a guest's stream table entry
 * @viommu: vSMMU
 * @flags: none is supported
 * @user_data: of type IOMMU_HWPT_DATA_ARM_SMMUV3
 *
 * Context: may sleep.
 * Return: the domain. -EOPNOTSUPP: a flag; -EINVAL: another type or length;
 * -EFAULT; -EIO: the entry holds something that a guest can't have; -ENOMEM.
 */
struct iommu_domain *
arm_vsmmu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
			      const struct iommu_user_data *user_data)
{
	struct arm_vsmmu *vsmmu = container_of(viommu, struct arm_vsmmu, core);
	struct arm_smmu_nested_domain *nested;
	struct iommu_hwpt_arm_smmuv3 arg;
	int ret;

	if (flags)
		return ERR_PTR(-EOPNOTSUPP);
	ret = iommu_copy_struct_from_user(&arg, user_data,
					  IOMMU_HWPT_DATA_ARM_SMMUV3, ste);
	if (ret)
		return ERR_PTR(ret);

	nested = kzalloc(sizeof(*nested), GFP_KERNEL_ACCOUNT);
	if (!nested)
		return ERR_PTR(-ENOMEM);
	nested->domain.type = IOMMU_DOMAIN_NESTED;
	nested->domain.ops = &arm_smmu_nested_ops;
	nested->vsmmu = vsmmu;
	ret = arm_smmu_check_vste(nested, arg.ste);
	if (ret) {
		kfree(nested);
		return ERR_PTR(ret);
	}
	return &nested->domain;
}

static int arm_vsmmu_vsid_to_sid(struct arm_vsmmu *vsmmu, u32 vsid, u32 *sid)
{
	struct arm_smmu_master *master;
	struct device *dev;
	int ret = -EIO;

	xa_lock(&vsmmu->core.vdevs);
	dev = iommufd_viommu_find_dev(&vsmmu->core, vsid);
	if (dev) {
		master = dev_iommu_priv_get(dev);
		*sid = master->streams[0].id;
		ret = 0;
	}
	xa_unlock(&vsmmu->core.vdevs);
	return ret;
}

/* What a range invalidation may look like, see CMD_TLBI_NH_VA */
static bool arm_vsmmu_range_is_legal(const u64 *cmd)
{
	unsigned int num = FIELD_GET(CMDQ_TLBI_0_NUM, cmd[0]);
	unsigned int scale = FIELD_GET(CMDQ_TLBI_0_SCALE, cmd[0]);
	unsigned int ttl = FIELD_GET(CMDQ_TLBI_1_TTL, cmd[1]);
	unsigned int tg = FIELD_GET(CMDQ_TLBI_1_TG, cmd[1]);

	if (!tg)
		return !num && !scale && !ttl;
	/* No block of 16 KiB granules is at level 1 without IDR5.DS */
	if (tg == CMDQ_TLBI_TG_16K && ttl == 1)
		return false;
	return num || scale || ttl;
}

/*
 * The bits of a command that a guest may set, besides the opcode; false if it may
 * not issue the command.
 */
static bool arm_vsmmu_cmd_mask(const struct arm_smmu_device *smmu, u8 opcode,
			       u64 *mask)
{
	u64 asid = FIELD_PREP(CMDQ_TLBI_0_ASID, BIT(smmu->asid_bits) - 1);
	u64 ssid = FIELD_PREP(CMDQ_CFGI_0_SSID, BIT(smmu->ssid_bits) - 1);

	mask[0] = CMDQ_0_OP;
	mask[1] = 0;

	switch (opcode) {
	case CMDQ_OP_TLBI_NSNH_ALL:
		break;
	case CMDQ_OP_TLBI_NH_VA:
		mask[0] |= asid;
		fallthrough;
	case CMDQ_OP_TLBI_NH_VAA:
		mask[0] |= CMDQ_TLBI_0_VMID;
		mask[1] |= CMDQ_TLBI_1_LEAF | CMDQ_TLBI_1_VA_MASK;
		if (smmu->features & ARM_SMMU_FEAT_RANGE_INV) {
			mask[0] |= CMDQ_TLBI_0_NUM | CMDQ_TLBI_0_SCALE;
			mask[1] |= CMDQ_TLBI_1_TTL | CMDQ_TLBI_1_TG;
		}
		break;
	case CMDQ_OP_TLBI_NH_ASID:
		mask[0] |= asid;
		fallthrough;
	case CMDQ_OP_TLBI_NH_ALL:
		mask[0] |= CMDQ_TLBI_0_VMID;
		break;
	case CMDQ_OP_ATC_INV:
		if (!(smmu->features & ARM_SMMU_FEAT_ATS))
			return false;
		mask[0] |= CMDQ_ATC_0_SID | ssid;
		if (ssid)
			mask[0] |= CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL;
		mask[1] |= CMDQ_ATC_1_SIZE | CMDQ_ATC_1_ADDR_MASK;
		break;
	case CMDQ_OP_CFGI_CD:
		mask[0] |= ssid;
		mask[1] |= CMDQ_CFGI_1_LEAF;
		fallthrough;
	case CMDQ_OP_CFGI_CD_ALL:
		mask[0] |= CMDQ_CFGI_0_SID;
		break;
	default:
		return false;
	}
	return true;
}

/**
 * arm_vsmmu_convert_cmd() - Make a guest's command one that the host may issue
 * @vsmmu: vSMMU
 * @cmd: command, host endian; converted in place
 *
 * The VMID becomes the one of the VM, the stream ID the one of the physical
 * device.
 *
 * Context: doesn't sleep; takes xa_lock() of the vDEVICEs.
 * Return: 0; -EIO for a command, a field or a combination of them that a guest
 * can't use, and for a stream ID without vDEVICE. A guest should see CERROR_ILL.
 */
VISIBLE_IF_KUNIT
int arm_vsmmu_convert_cmd(struct arm_vsmmu *vsmmu, u64 *cmd)
{
	u8 opcode = FIELD_GET(CMDQ_0_OP, cmd[0]);
	u32 sid = FIELD_GET(CMDQ_CFGI_0_SID, cmd[0]);
	u64 mask[CMDQ_ENT_DWORDS];
	int ret;

	if (!arm_vsmmu_cmd_mask(vsmmu->smmu, opcode, mask) ||
	    (cmd[0] & ~mask[0]) || (cmd[1] & ~mask[1]))
		return -EIO;

	switch (opcode) {
	case CMDQ_OP_TLBI_NSNH_ALL:
		/* What a guest means by all is all of its VM */
		u64p_replace_bits(&cmd[0], CMDQ_OP_TLBI_NH_ALL, CMDQ_0_OP);
		break;
	case CMDQ_OP_TLBI_NH_VA:
	case CMDQ_OP_TLBI_NH_VAA:
		if (!arm_vsmmu_range_is_legal(cmd))
			return -EIO;
		break;
	case CMDQ_OP_ATC_INV:
		if (FIELD_GET(CMDQ_ATC_1_SIZE, cmd[1]) > ATC_INV_SIZE_ALL)
			return -EIO;
		fallthrough;
	case CMDQ_OP_CFGI_CD:
	case CMDQ_OP_CFGI_CD_ALL:
		ret = arm_vsmmu_vsid_to_sid(vsmmu, sid, &sid);
		if (ret)
			return ret;
		u64p_replace_bits(&cmd[0], sid, CMDQ_CFGI_0_SID);
		return 0;
	}
	u64p_replace_bits(&cmd[0], vsmmu->vmid, CMDQ_TLBI_0_VMID);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vsmmu_convert_cmd);

/* Returns how many commands from @index on are good, and why the next is not */
static unsigned int arm_vsmmu_fill_batch(struct arm_vsmmu *vsmmu,
					 struct iommu_user_data_array *array,
					 unsigned int index, u64 *cmds,
					 int *ret)
{
	unsigned int max = min(array->entry_num - index, ARM_VSMMU_BATCH);
	const u32 type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
	struct iommu_viommu_arm_smmuv3_invalidate entry;
	unsigned int n;

	for (n = 0; n < max; n++, cmds += CMDQ_ENT_DWORDS) {
		*ret = iommu_copy_struct_from_user_array(&entry, array, type,
							 index + n, cmd);
		if (*ret)
			break;
		cmds[0] = le64_to_cpu(entry.cmd[0]);
		cmds[1] = le64_to_cpu(entry.cmd[1]);
		*ret = arm_vsmmu_convert_cmd(vsmmu, cmds);
		if (*ret)
			break;
	}
	return n;
}

/**
 * arm_vsmmu_cache_invalidate() - Issue invalidation commands of a guest
 * @viommu: vSMMU
 * @array: entries of type IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3; entry_num
 *         becomes the number of those that are completed
 *
 * Context: may sleep between batches; not while one completes.
 * Return: 0; -EINVAL: another type or entry length, no entries; -EFAULT; -EIO: a
 * command that a guest can't issue; -ETIMEDOUT: the SMMU did not complete a
 * batch. Commands before the one that failed are completed.
 */
int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu,
			       struct iommu_user_data_array *array)
{
	struct arm_vsmmu *vsmmu = container_of(viommu, struct arm_vsmmu, core);
	struct arm_smmu_device *smmu = vsmmu->smmu;
	u64 cmds[ARM_VSMMU_BATCH * CMDQ_ENT_DWORDS];
	unsigned int done = 0;
	int ret = 0;

	if (array->type != IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 ||
	    !array->entry_num)
		ret = -EINVAL;

	while (!ret && done < array->entry_num) {
		unsigned int n;
		int err = 0;

		n = arm_vsmmu_fill_batch(vsmmu, array, done, cmds, &ret);
		if (n)
			err = arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq,
							  cmds, n, true);
		if (err)
			ret = err;
		else
			done += n;
		cond_resched();
	}
	array->entry_num = done;
	return ret;
}

/**
 * arm_vsmmu_vdevice_init() - Check a device that is to be behind a vSMMU
 * @vdev: vDEVICE
 *
 * Return: 0; -EOPNOTSUPP: a device of several stream IDs; -EINVAL: a virtual
 * stream ID of more than 32 bits.
 */
int arm_vsmmu_vdevice_init(struct iommufd_vdevice *vdev)
{
	struct device *dev = iommufd_vdevice_to_device(vdev);
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);

	/* Commands and events have room for one stream ID of 32 bits */
	if (master->num_streams != 1)
		return -EOPNOTSUPP;
	if (vdev->virt_id > U32_MAX)
		return -EINVAL;
	return 0;
}

static const struct iommufd_viommu_ops arm_vsmmu_ops = {
	.alloc_domain_nested = arm_vsmmu_alloc_domain_nested,
	.cache_invalidate = arm_vsmmu_cache_invalidate,
	.vdevice_init = arm_vsmmu_vdevice_init,
};

int arm_vsmmu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		   const struct iommu_user_data *user_data)
{
	struct arm_vsmmu *vsmmu = container_of(viommu, struct arm_vsmmu, core);
	struct arm_smmu_domain *s2_parent = to_smmu_domain(parent);
	struct arm_smmu_device *smmu =
		container_of(viommu->iommu_dev, struct arm_smmu_device, iommu);

	if (s2_parent->smmu != smmu)
		return -EINVAL;

	vsmmu->smmu = smmu;
	vsmmu->s2_parent = s2_parent;
	vsmmu->vmid = s2_parent->s2_cfg.vmid;

	if (viommu->type != IOMMU_VIOMMU_TYPE_ARM_SMMUV3)
		return smmu->impl_ops->vsmmu_init(vsmmu, user_data);

	if (user_data)
		return -EINVAL;
	viommu->ops = &arm_vsmmu_ops;
	return 0;
}

MODULE_IMPORT_NS(IOMMUFD);
