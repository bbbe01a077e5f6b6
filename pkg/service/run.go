package service

func (e *Env) requestDrain(string) {}
func run(Spec)                     {}
