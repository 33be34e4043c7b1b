"""Numbers that the training of the flows depends on and no recipe sets; as `constants`."""

__all__ = ["recorded"]

#: Signal-to-noise ratio at which galaxies are encoded for the flow: high, so that latents carry
#: the structure and not the uncertainty about it.
ENCODED_SIGNAL_TO_NOISE = 500.0
#: Galaxies encoded at a time: each such part has random numbers of its own.
ENCODED_BATCH = 64
FLOW_GRADIENT_CLIP = 5.0
FLOW_AVERAGE = 0.998
#: Probability that a condition, or the traits, are hidden from the latent flow, of the share
#: `FlowTraining.drop`.
HIDE = 0.5
#: Share of rows in which the population flow is given nothing, and the probability that it is
#: given a condition in the others.
GIVEN_NOTHING, GIVEN = 0.4, 0.5

#: Synthetic galaxies that no flow of them is trained on, from which the latents' takes the radius
#: of its noise (`galsim_vae.model.radius`).
RADIUS_GALAXIES = 8192

#: The critic (`galsim_vae.train.fit.critic`): width and number of its layers, its learning rate,
#: the weight of its squared slope, and the steps that it learns before the flow does.
CRITIC_WIDTH, CRITIC_LAYERS = 512, 3
CRITIC_RATE, CRITIC_PENALTY, CRITIC_ALONE = 5e-4, 1.0, 200
#: Standard deviations beyond which it does not look.
CRITIC_FARTHEST = 8.0
#: Galaxies a step, peak of the flow's learning rate, and the weight of its -ln density.
JUDGED_BATCH, JUDGED_RATE, LIKELIHOOD_WEIGHT = 192, 1e-3, 0.005
#: Galaxies, and the step in a component, by which it is told how much this shows.
SEEN_GALAXIES, SEEN_STEP = 64, 0.5

#: What is told of traits (`galsim_vae.train.fit.calibrate`): galaxies that are drawn for it, and
#: rounds; and synthetic galaxies by which it is known what encoding loses, or as many as are
#: encoded for the flows if these are fewer.
CALIBRATED, CALIBRATIONS, COMPARED = 12_288, 3, 4096


def recorded() -> dict[str, float | int]:
    """Return all of them by name."""
    return {name: value for name, value in globals().items() if name.isupper()}
