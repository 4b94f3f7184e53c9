// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vEVENTQ object: events of one type that a vIOMMU has for its VM, read
 * from a file.
 *
 * A vEVENTQ holds its vIOMMU, and its file holds the vEVENTQ. The IOMMU driver
 * adds events, with iommufd_viommu_report_event() in driver.c. It finds the
 * vEVENTQ in iommufd_viommu::veventqs, under veventqs_rwsem. The events and
 * their count are protected by iommufd_veventq::lock.
 *
 * Events are numbered, also those for which there was no place. So a reader sees
 * a gap where some were lost; and where the latest were lost, a header without
 * event tells, with the number of the last one (iommufd_veventq::lost). It is
 * not in the list and takes no place of the queue.
 *
 * Copyright (C) 2026 The grace-lab developers
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <uapi/linux/iommufd.h>

#include "iommufd_private.h"

/*
 * A guest may fill its queue and nobody read it: 32 MiB of the host's memory for
 * events of SMMUv3. QEMU asks for as many.
 */
#define VEVENTQ_MAX_DEPTH BIT(19)

void iommufd_veventq_destroy(struct iommufd_object *obj)
{
	struct iommufd_veventq *veventq =
		container_of(obj, struct iommufd_veventq, obj);
	struct iommufd_viommu *viommu = veventq->viommu;
	struct iommufd_vevent *event, *next;

	scoped_guard(rwsem_write, &viommu->veventqs_rwsem)
		list_del_init(&veventq->item);

	list_for_each_entry_safe(event, next, &veventq->events, item)
		kfree(event);
	refcount_dec(&viommu->obj.users);
}

/*
 * Take the first event that fits in @space bytes. ERR_PTR(-EINVAL): there is
 * one, but it doesn't fit; NULL: none.
 */
static struct iommufd_vevent *veventq_take(struct iommufd_veventq *veventq,
					   size_t space)
{
	struct iommufd_vevent *event;

	spin_lock(&veventq->lock);
	event = list_first_entry_or_null(&veventq->events,
					 struct iommufd_vevent, item);
	if (event && sizeof(event->header) + event->len > space) {
		event = ERR_PTR(-EINVAL);
	} else if (event) {
		list_del(&event->item);
		veventq->num_events--;
	}
	spin_unlock(&veventq->lock);
	return event;
}

static void veventq_put_back(struct iommufd_veventq *veventq,
			     struct iommufd_vevent *event)
{
	spin_lock(&veventq->lock);
	list_add(&event->item, &veventq->events);
	veventq->num_events++;
	spin_unlock(&veventq->lock);
}

static ssize_t veventq_read_event(struct iommufd_veventq *veventq,
				  char __user *buf, size_t space)
{
	struct iommufd_vevent *event = veventq_take(veventq, space);
	size_t len;

	if (IS_ERR_OR_NULL(event))
		return PTR_ERR_OR_ZERO(event);

	len = sizeof(event->header) + event->len;
	if (copy_to_user(buf, &event->header, sizeof(event->header)) ||
	    copy_to_user(buf + sizeof(event->header), event->data,
			 event->len)) {
		veventq_put_back(veventq, event);
		return -EFAULT;
	}
	kfree(event);
	return len;
}

/* Only after all events: the header that tells of lost ones */
static ssize_t veventq_read_lost(struct iommufd_veventq *veventq,
				 char __user *buf, size_t space)
{
	struct iommufd_vevent_header header = {
		.flags = IOMMU_VEVENTQ_FLAG_LOST_EVENTS,
	};
	ssize_t rc = 0;

	spin_lock(&veventq->lock);
	if (veventq->lost && list_empty(&veventq->events)) {
		rc = space < sizeof(header) ? -EINVAL : sizeof(header);
		if (rc > 0)
			veventq->lost = false;
		header.sequence = veventq->sequence;
	}
	spin_unlock(&veventq->lock);
	if (rc <= 0 || !copy_to_user(buf, &header, sizeof(header)))
		return rc;

	/* Unless an event came meanwhile, whose number shows the gap */
	spin_lock(&veventq->lock);
	if (veventq->sequence == header.sequence)
		veventq->lost = true;
	spin_unlock(&veventq->lock);
	return -EFAULT;
}

static ssize_t iommufd_veventq_fops_read(struct file *filep, char __user *buf,
					 size_t count, loff_t *ppos)
{
	struct iommufd_veventq *veventq = filep->private_data;
	size_t done = 0;
	ssize_t rc;

	if (*ppos)
		return -ESPIPE;
	if (count < sizeof(struct iommufd_vevent_header))
		return -EINVAL;

	do {
		rc = veventq_read_event(veventq, buf + done, count - done);
		if (!rc)
			rc = veventq_read_lost(veventq, buf + done,
					       count - done);
		if (rc > 0)
			done += rc;
	} while (rc > 0);

	return done ?: rc;
}

static __poll_t iommufd_veventq_fops_poll(struct file *filep,
					  struct poll_table_struct *wait)
{
	struct iommufd_veventq *veventq = filep->private_data;
	__poll_t flags = 0;

	poll_wait(filep, &veventq->wait_queue, wait);
	spin_lock(&veventq->lock);
	if (veventq->lost || !list_empty(&veventq->events))
		flags = EPOLLIN | EPOLLRDNORM;
	spin_unlock(&veventq->lock);
	return flags;
}

static int iommufd_veventq_fops_release(struct inode *inode, struct file *filep)
{
	struct iommufd_veventq *veventq = filep->private_data;
	/* The vEVENTQ may be freed once it has no users any more */
	struct iommufd_ctx *ictx = veventq->viommu->ictx;

	refcount_dec(&veventq->obj.users);
	iommufd_ctx_put(ictx);
	return 0;
}

static const struct file_operations iommufd_veventq_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.read = iommufd_veventq_fops_read,
	.poll = iommufd_veventq_fops_poll,
	.release = iommufd_veventq_fops_release,
};

static int veventq_open(struct iommufd_veventq *veventq)
{
	struct file *filep;

	filep = anon_inode_getfile("[iommufd-veventq]", &iommufd_veventq_fops,
				   veventq, O_RDWR);
	if (IS_ERR(filep))
		return PTR_ERR(filep);

	refcount_inc(&veventq->obj.users);
	iommufd_ctx_get(veventq->viommu->ictx);
	veventq->filep = filep;
	return 0;
}

/* From now on the driver finds it */
static int veventq_publish(struct iommufd_veventq *veventq)
{
	struct iommufd_viommu *viommu = veventq->viommu;
	struct iommufd_veventq *other;

	guard(rwsem_write)(&viommu->veventqs_rwsem);
	list_for_each_entry(other, &viommu->veventqs, item)
		if (other->type == veventq->type)
			return -EEXIST;
	list_add_tail(&veventq->item, &viommu->veventqs);
	return 0;
}

static struct iommufd_veventq *veventq_create(struct iommufd_ucmd *ucmd,
					      struct iommufd_viommu *viommu)
{
	struct iommu_veventq_alloc *cmd = ucmd->cmd;
	struct iommufd_veventq *veventq;

	veventq = iommufd_object_alloc(ucmd->ictx, veventq,
				       IOMMUFD_OBJ_VEVENTQ);
	if (IS_ERR(veventq))
		return veventq;

	veventq->viommu = viommu;
	refcount_inc(&viommu->obj.users);
	veventq->type = cmd->type;
	veventq->depth = cmd->veventq_depth;
	/* The first event has number 0 */
	veventq->sequence = INT_MAX;
	spin_lock_init(&veventq->lock);
	INIT_LIST_HEAD(&veventq->item);
	INIT_LIST_HEAD(&veventq->events);
	init_waitqueue_head(&veventq->wait_queue);
	return veventq;
}

int iommufd_veventq_alloc(struct iommufd_ucmd *ucmd)
{
	struct iommu_veventq_alloc *cmd = ucmd->cmd;
	struct iommufd_veventq *veventq;
	struct iommufd_viommu *viommu;
	int fd = -1;
	int rc;

	if (cmd->flags || cmd->__reserved ||
	    cmd->type == IOMMU_VEVENTQ_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->veventq_depth || cmd->veventq_depth > VEVENTQ_MAX_DEPTH)
		return -EINVAL;

	viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	veventq = veventq_create(ucmd, viommu);
	if (IS_ERR(veventq)) {
		rc = PTR_ERR(veventq);
		goto out_put_viommu;
	}

	rc = veventq_open(veventq);
	if (rc)
		goto out_abort;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		rc = fd;
		goto out_abort;
	}

	cmd->out_veventq_id = veventq->obj.id;
	cmd->out_veventq_fd = fd;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_put_fd;
	rc = veventq_publish(veventq);
	if (rc)
		goto out_put_fd;

	iommufd_object_finalize(ucmd->ictx, &veventq->obj);
	fd_install(fd, veventq->filep);
	goto out_put_viommu;

out_put_fd:
	put_unused_fd(fd);
out_abort:
	iommufd_object_abort_and_destroy(ucmd->ictx, &veventq->obj);
out_put_viommu:
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
