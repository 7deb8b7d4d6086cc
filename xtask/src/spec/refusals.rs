//! Every refusal of a spec, with the whole message that its author reads.
