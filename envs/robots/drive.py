"""stub until A"""
class ArmDrive:
    def __init__(self, model, card): self.n = len(card.arm_joints)
    def reset(self, data): pass
    def command(self, data, velocities): data.ctrl[:self.n] = velocities
