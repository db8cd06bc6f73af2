/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kvm_node=1: the stock module's node /dev/kvm (10:232) as a second name of /dev/lodge.
 */
#ifndef LODGE_CORE_KVM_NODE_H
#define LODGE_CORE_KVM_NODE_H

struct file_operations;

/*
 * Take the node and keep the stock module out.  Module initialisation only.  -EBUSY with a message if the stock module is loaded.
 */
int lodge_kvm_node_init(const struct file_operations *fops);
void lodge_kvm_node_exit(void);

#endif
