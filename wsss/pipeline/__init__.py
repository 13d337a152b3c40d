"""The stages, one public function in one file each; `wsss.cli` makes commands of them."""
