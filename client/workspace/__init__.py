"""What a hospital has on site besides its patients: private keys, kit, policy, labels, members, release."""
