"""The floor that touches the kernel, against the real kernel or a fake root directory."""
