package sched

// list is a queue, first in, first out, that reuses its space.
type list[T any] struct {
	a    []T
	head int
}

func (l *list[T]) len() int { return len(l.a) - l.head }

func (l *list[T]) push(v T) {
	if l.head > 32 && l.head*2 > len(l.a) {
		n := copy(l.a, l.a[l.head:])
		clear(l.a[n:])
		l.a, l.head = l.a[:n], 0
	}
	l.a = append(l.a, v)
}

func (l *list[T]) pop() (v T, ok bool) {
	if l.len() == 0 {
		return v, false
	}
	var zero T
	v, l.a[l.head] = l.a[l.head], zero
	l.head++
	if l.head == len(l.a) {
		l.a, l.head = l.a[:0], 0
	}
	return v, true
}
