"""Where the bytes of instances are kept: databases, disks of objects, stores of whole objects."""
