"""Quality metrics: outputs and labels give one value for each example. One file each."""
