"""What a pipeline needs of a forge (repository, protection, secrets, webhooks), as a Pulumi program."""
