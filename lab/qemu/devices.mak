# What the virtual Grace has, and nothing else: -M virt with the block, PCIe
# with pass-through candidates, and virtio for root disk and console.
CONFIG_ARM_VIRT=y
CONFIG_TEGRA241_CMDQV=y
CONFIG_PCIE_PORT=y
CONFIG_NVME_PCI=y
CONFIG_E1000E_PCI_EXPRESS=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_SERIAL=y
