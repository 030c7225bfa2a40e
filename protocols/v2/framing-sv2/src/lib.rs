//! Stratum V2 frames: header, Sv2Frame, NoiseFrame, EitherFrame.
