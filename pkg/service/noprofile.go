//go:build !profile

package service

func startProfile(string) {}

func stopProfile() {}
