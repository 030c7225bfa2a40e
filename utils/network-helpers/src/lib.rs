//! Stratum V2 connections over TCP, plain or Noise, with limits and deadlines.
