"""The equations of the shipped cells, each from its paper, for the oracle.

Sizes, orders of gates and names of parameters are the library's. Blocks of W_ih and of W_hh are counted apart: a gate
without recurrent weights has none in W_hh.
"""

from __future__ import annotations

from .oracle import Layer, Step
from .scalars import (
    Scalar,
    Vector,
    each,
    exp,
    greater,
    identity,
    log_sigmoid,
    relu,
    sigmoid,
    spike,
    square_root,
    tanh,
    total,
)

States = tuple[Vector, ...]

ACTIVATIONS = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid, "identity": identity}


def elman(activation: str) -> Step:
    """Elman 1990: h' = act(W_ih x + b_ih + W_hh h + b_hh)."""

    def step(w: Layer, x: Vector, state: States) -> States:
        return (each(ACTIVATIONS[activation], w.gate(0, x, state[0])),)

    return step


def lstm(*, peephole: bool = False, coupled: bool = False, projected: bool = False) -> Step:
    """Hochreiter and Schmidhuber 1997, the forget gate of Gers et al. 2000; gates in the order i, f, g, o.

    peephole: Gers et al. 2002, i and f see the cell before the step and o that behind it. coupled: Greff et al. 2017,
    f = 1 - i. projected: Sak et al. 2014, the output is W_hr (o tanh(c)).
    """

    def step(w: Layer, x: Vector, state: States) -> States:
        h, c = state
        a = dict(zip("igo" if coupled else "ifgo", (w.gate(k, x, h) for k in range(3 if coupled else 4)), strict=True))

        def opened(gate: str, seen: Vector) -> Vector:
            if peephole:
                return each(lambda a, p, c: sigmoid(a + p * c), a[gate], w[f"peephole_{gate}"], seen)
            return each(sigmoid, a[gate])

        i = opened("i", c)
        f = each(lambda i: 1 - i, i) if coupled else opened("f", c)
        new = each(lambda f, c, i, g: f * c + i * tanh(g), f, c, i, a["g"])
        out = each(lambda o, c: o * tanh(c), opened("o", new), new)
        return w.project("hr", out) if projected else out, new

    return step


def gru(update: str, reset: str) -> Step:
    """Cho et al. 2014, gates r, z, n, with either convention of the update gate z and of the place of the reset r.

    update="candidate": h' = (1-z) h + z n, as in Chung et al. 2014; "carry": h' = (1-z) n + z h, as in PyTorch.
    reset="before": n reads W_hn (r h) + b_hn; "after": r (W_hn h + b_hn).
    """

    def step(w: Layer, x: Vector, state: States) -> States:
        (h,) = state
        r, z = each(sigmoid, w.gate(0, x, h)), each(sigmoid, w.gate(1, x, h))
        if reset == "before":
            n = each(tanh, w.gate(2, x, each(lambda r, h: r * h, r, h)))
        else:
            n = each(lambda of_x, r, of_h: tanh(of_x + r * of_h), w.of_x(2, x), r, w.of_h(2, h))
        if update == "candidate":
            return (each(_mix, z, n, h),)
        return (each(_mix, z, h, n),)

    return step


def _mix(z: Scalar, a: Scalar, b: Scalar) -> Scalar:
    """The mean of a and b with the weights z and 1 - z."""
    return z * a + (1 - z) * b


def mgu(w: Layer, x: Vector, state: States) -> States:
    """Zhou et al. 2016: f = sigmoid(...), n = tanh(W x + b + U (f h) + b'), h' = (1-f) h + f n."""
    (h,) = state
    f = each(sigmoid, w.gate(0, x, h))
    n = each(tanh, w.gate(1, x, each(lambda f, h: f * h, f, h)))
    return (each(_mix, f, n, h),)


def mingru(w: Layer, x: Vector, state: States) -> States:
    """Feng et al. 2024: z = sigmoid(W_z x + b_z), n = W_n x + b_n, h' = (1-z) h + z n."""
    return (each(_mix, each(sigmoid, w.of_x(0, x)), w.of_x(1, x), state[0]),)


def ligru(w: Layer, x: Vector, state: States) -> States:
    """Ravanelli et al. 2018: z = sigmoid(...), n = relu(...), h' = z h + (1-z) n."""
    (h,) = state
    return (each(_mix, each(sigmoid, w.gate(0, x, h)), h, each(relu, w.gate(1, x, h))),)


def ugrnn(w: Layer, x: Vector, state: States) -> States:
    """Collins et al. 2017: g = sigmoid(...), c = tanh(...), h' = g h + (1-g) c."""
    (h,) = state
    return (each(_mix, each(sigmoid, w.gate(0, x, h)), h, each(tanh, w.gate(1, x, h))),)


def janet(beta: float) -> Step:
    """Van der Westhuizen and Lasenby 2018: h' = sigmoid(s) h + (1 - sigmoid(s - beta)) tanh(...)."""

    def step(w: Layer, x: Vector, state: States) -> States:
        (h,) = state

        def unit(s: Scalar, g: Scalar, h: Scalar) -> Scalar:
            return sigmoid(s) * h + (1 - sigmoid(s - beta)) * tanh(g)

        return (each(unit, w.gate(0, x, h), w.gate(1, x, h), h),)

    return step


def star(w: Layer, x: Vector, state: States) -> States:
    """Turkoglu et al. 2021: z = tanh(W_z x + b_z), k = sigmoid(...), h' = tanh((1-k) h + k z)."""
    (h,) = state
    z = each(tanh, w.of_x(0, x))
    # The block of k is the second of W_ih and the only one of W_hh.
    k = each(lambda of_x, of_h: sigmoid(of_x + of_h), w.of_x(1, x), w.of_h(0, h))
    return (each(lambda k, z, h: tanh(_mix(k, z, h)), k, z, h),)


def ran(activation: str) -> Step:
    """Lee et al. 2017: c' = sigmoid(i) (W_g x + b_g) + sigmoid(f) c, h' = act(c'); blocks g, i, f and i, f."""

    def step(w: Layer, x: Vector, state: States) -> States:
        h, c = state
        i, f = (each(lambda of_x, of_h: sigmoid(of_x + of_h), w.of_x(k + 1, x), w.of_h(k, h)) for k in (0, 1))
        new = each(lambda i, g, f, c: i * g + f * c, i, w.of_x(0, x), f, c)
        return each(ACTIVATIONS[activation], new), new

    return step


def indrnn(w: Layer, x: Vector, state: States) -> States:
    """Li et al. 2018: h' = relu(W x + b + u h), u a number for each unit."""
    return (each(lambda a, u, h: relu(a + u * h), w.of_x(0, x), w["u"], state[0]),)


def fastgrnn(w: Layer, x: Vector, state: States) -> States:
    """Kusupati et al. 2018: a = W x + U h, z = sigmoid(a + b_z), n = tanh(a + b_h), h' = (zeta (1-z) + nu) n + z h."""
    (h,) = state
    zeta, nu = sigmoid(w["zeta"]), sigmoid(w["nu"])

    def unit(a: Scalar, b_z: Scalar, b_h: Scalar, h: Scalar) -> Scalar:
        z, n = sigmoid(a + b_z), tanh(a + b_h)
        return (zeta * (1 - z) + nu) * n + z * h

    return (each(unit, w.gate(0, x, h), w["b_z"], w["b_h"], h),)


def layer_norm(values: Vector, gain: Vector, shift: Vector) -> Vector:
    """Ba et al. 2016, equation 3: gain / sigma (a - mu) + shift, with 1e-5 added to the variance."""
    share = 1.0 / len(values)
    mean = total(values) * share
    centred = [v - mean for v in values]
    sigma = square_root(total([v * v for v in centred]) * share + 1e-5)
    return each(lambda v, g, b: g / sigma * v + b, centred, gain, shift)


def layernorm_lstm(w: Layer, x: Vector, state: States) -> States:
    """Ba et al. 2016: each gate's summed inputs are normalised, and the cell before its tanh."""
    h, c = state
    i, f, g, o = (layer_norm(w.gate(k, x, h), w[f"gain_{n}"], w[f"shift_{n}"]) for k, n in enumerate("ifgo"))
    new = each(lambda i, f, g, c: sigmoid(f) * c + sigmoid(i) * tanh(g), i, f, g, c)
    seen = layer_norm(new, w["gain_c"], w["shift_c"])
    return each(lambda o, c: sigmoid(o) * tanh(c), o, seen), new


def layernorm_gru(w: Layer, x: Vector, state: States) -> States:
    """Ba et al. 2016: n = tanh(LN(W x) + r LN(U h)), h' = (1-z) h + z n, r and z of normalised sums."""
    (h,) = state
    r, z = (layer_norm(w.gate(k, x, h), w[f"gain_{n}"], w[f"shift_{n}"]) for k, n in enumerate("rz"))
    of_x = layer_norm(w.of_x(2, x), w["gain_x"], w["shift_x"])
    of_h = layer_norm(w.of_h(2, h), w["gain_h"], w["shift_h"])
    n = each(lambda of_x, r, of_h: tanh(of_x + sigmoid(r) * of_h), of_x, r, of_h)
    return (each(lambda z, n, h: _mix(sigmoid(z), n, h), z, n, h),)


def slstm(forget: str) -> Step:
    """Beck et al. 2024, equations 8 to 17: exponential input gate, normaliser n, stabiliser m; gates i, f, z, o."""

    def step(w: Layer, x: Vector, state: States) -> States:
        h, c, n, m = state
        i, f, z, o = (w.gate(k, x, h) for k in range(4))
        log_f = each(log_sigmoid, f) if forget == "sigmoid" else f
        new_m = each(lambda f, m, i: greater(f + m, i), log_f, m, i)
        i = each(lambda i, new: exp(i - new), i, new_m)
        f = each(lambda f, m, new: exp(f + m - new), log_f, m, new_m)
        new_c = each(lambda f, c, i, z: f * c + i * tanh(z), f, c, i, z)
        new_n = each(lambda f, n, i: f * n + i, f, n, i)
        return each(lambda o, c, n: sigmoid(o) * (c / n), o, new_c, new_n), new_c, new_n, new_m

    return step


def ctrnn(w: Layer, x: Vector, state: States) -> States:
    """Jaeger et al. 2007: h' = (1 - a) h + a tanh(...), a = sigmoid(rate) of each unit."""
    (h,) = state
    return (each(lambda rate, a, h: _mix(sigmoid(rate), tanh(a), h), w["rate"], w.gate(0, x, h), h),)


def lem(dt: float) -> Step:
    """Rusch et al. 2022: two states with learned time steps of their own; y reads the new z."""

    def step(w: Layer, x: Vector, state: States) -> States:
        y, z = state
        step_z, step_y = (each(lambda a: sigmoid(a) * dt, w.gate(k, x, y)) for k in (0, 1))
        new_z = each(_mix, step_z, each(tanh, w.gate(2, x, y)), z)
        new_y = each(_mix, step_y, each(tanh, w.gate(3, x, new_z)), y)
        return new_y, new_z

    return step


def cornn(dt: float, gamma: float, epsilon: float) -> Step:
    """Rusch and Mishra 2021: z' = z + dt (tanh(W y + W_z z + V x + b) - gamma y - epsilon z), y' = y + dt z'."""

    def step(w: Layer, x: Vector, state: States) -> States:
        y, z = state

        def force(a: Scalar, b: Scalar, y: Scalar, z: Scalar) -> Scalar:
            return z + (tanh(a + b) - y * gamma - z * epsilon) * dt

        new_z = each(force, w.gate(0, x, y), w.project("zh", z), y, z)
        return each(lambda y, z: y + z * dt, y, new_z), new_z

    return step


def cfc(w: Layer, x: Vector, state: States) -> States:
    """Hasani et al. 2022, equation 2: h' = s g + (1 - s) k, s = sigmoid(-f dt), with f linear, g and k tanh."""
    (h,) = state
    f, g, k = (w.gate(block, x, h) for block in range(3))
    dt: Scalar = w.inputs["dt"]
    return (each(lambda f, g, k: _mix(sigmoid(-f * dt), tanh(g), tanh(k)), f, g, k),)


def lif(threshold: float, slope: float) -> Step:
    """Zenke and Ganguli 2018, in discrete time: v' = beta v + a - threshold s, s' = 1 where v' > threshold, else 0."""

    def step(w: Layer, x: Vector, state: States) -> States:
        s, v = state

        def membrane(decay: Scalar, v: Scalar, a: Scalar, s: Scalar) -> Scalar:
            return sigmoid(decay) * v + a - s * threshold

        new = each(membrane, w["decay"], v, w.gate(0, x, s), s)
        return [spike(v - threshold, slope) for v in new], new

    return step
