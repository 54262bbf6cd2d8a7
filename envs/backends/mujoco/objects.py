"""stub until C"""
import mujoco
def add_to(spec, thing, name, looks, several=False):
    body = spec.worldbody.add_body(name=name, pos=(0.6,0,0))
    body.add_freejoint(name=name)
    volume = sum(s.volume for s in thing.shapes)
    for i, s in enumerate(thing.shapes):
        body.add_geom(name=name if i == 0 else f"{name}_{i}", type=getattr(mujoco.mjtGeom, f"mjGEOM_{s.type.upper()}"), size=(*s.size, *(0.0,) * (3 - len(s.size))), pos=s.position, quat=s.quaternion, friction=(s.friction, .005, .0001), mass=thing.mass * s.volume / volume, contype=2, conaffinity=3 if several else 1, group=1 if looks else 3, rgba=(*thing.colour, 1))
