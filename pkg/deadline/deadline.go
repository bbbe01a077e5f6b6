// Package deadline moves the time limits of a connection along with its
// traffic, without a call of the runtime's for each read and write.
package deadline

import "time"

// slack is how much earlier than asked for a limit may be.
const slack = time.Second

// Limit is a limit that moves: the deadline of a connection's reads or of its
// writes. It is not safe for concurrent use.
type Limit struct {
	at time.Time // what set was last called with
}

// Move calls set with now+d if the limit that was set before is later than that,
// or earlier by more than a second or by more than an eighth of d.
func (l *Limit) Move(now time.Time, d time.Duration, set func(time.Time) error) error {
	return l.MoveTo(now, now.Add(d), set)
}

// MoveTo is Move for a limit that is known as a time.
func (l *Limit) MoveTo(now, at time.Time, set func(time.Time) error) error {
	if late := at.Sub(l.at); !l.at.IsZero() && late >= 0 && late <= min(slack, at.Sub(now)/8) {
		return nil
	}
	l.at = at
	return set(at)
}

// Forget makes the next Move set the limit. It is to be called when somebody
// else has set the connection's deadline.
func (l *Limit) Forget() { l.at = time.Time{} }
