// A connection in memory: what one end writes, the other can read, and writers never wait.
package main

import (
	"io"
	"net"
	"sync"
	"time"
)

// direction is one of the two.
type direction struct {
	lock   sync.Mutex
	filled *sync.Cond
	bytes  []byte
	read   int
	closed bool
}

func newDirection() *direction {
	direction := &direction{}
	direction.filled = sync.NewCond(&direction.lock)
	return direction
}

// pipeEnd is one end.
type pipeEnd struct{ fromPeer, toPeer *direction }

func memoryPipe() ends {
	there, back := newDirection(), newDirection()
	return ends{pipeEnd{back, there}, pipeEnd{there, back}}
}

func (end pipeEnd) Read(into []byte) (int, error) {
	from := end.fromPeer
	from.lock.Lock()
	defer from.lock.Unlock()
	for from.read == len(from.bytes) {
		if from.closed {
			return 0, io.EOF
		}
		from.filled.Wait()
	}
	count := copy(into, from.bytes[from.read:])
	from.read += count
	if from.read == len(from.bytes) {
		from.bytes, from.read = from.bytes[:0], 0
	}
	return count, nil
}

func (end pipeEnd) Write(bytes []byte) (int, error) {
	to := end.toPeer
	to.lock.Lock()
	defer to.lock.Unlock()
	to.bytes = append(to.bytes, bytes...)
	to.filled.Signal()
	return len(bytes), nil
}

func (end pipeEnd) Close() error {
	to := end.toPeer
	to.lock.Lock()
	defer to.lock.Unlock()
	to.closed = true
	to.filled.Signal()
	return nil
}

func (pipeEnd) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (pipeEnd) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (pipeEnd) SetDeadline(time.Time) error      { return nil }
func (pipeEnd) SetReadDeadline(time.Time) error  { return nil }
func (pipeEnd) SetWriteDeadline(time.Time) error { return nil }
