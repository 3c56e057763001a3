"""Storage of instances: databases, disks of Durable Objects, object stores."""
