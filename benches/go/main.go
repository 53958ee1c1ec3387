// What grpc-go's ALTS costs, reported to the program that compares. It reads lines WHAT SIZE COUNT, does
// that, and answers each with the seconds of CPU time that it took the whole process, or with bytes:
//
//	record        COUNT messages of that size through two ALTS connections in memory
//	plain, alts   COUNT messages of that size over the loopback interface
//	unary-plain, unary-alts     COUNT calls that echo that size
//	stream-plain, stream-alts   one call that brings COUNT messages of that size
//	idle-plain, idle-alts       the memory that one end of COUNT idle connections takes, after SIZE
//	                            bytes in each direction
//
// Usage: grpc-go HANDSHAKER_ADDRESS
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/alts"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: grpc-go HANDSHAKER_ADDRESS")
	}
	client := alts.NewClientCreds(&alts.ClientOptions{HandshakerServiceAddress: os.Args[1]})
	server := alts.NewServerCreds(&alts.ServerOptions{HandshakerServiceAddress: os.Args[1]})
	security := security{client, server}
	work, err := all(security)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var what string
		var size, count int
		if _, err := fmt.Sscan(lines.Text(), &what, &size, &count); err != nil || work[what] == nil {
			log.Fatalf("not understood: %q", lines.Text())
		}
		figure, err := work[what](size, count)
		if err != nil {
			log.Fatalf("%s: %v", what, err)
		}
		fmt.Println(figure)
	}
}

// all is what can be asked for, on connections that are there already.
func all(security security) (map[string]work, error) {
	memory, err := security.both(memoryPipe())
	if err != nil {
		return nil, err
	}
	plain, err := loopback()
	if err != nil {
		return nil, err
	}
	sockets, err := loopback()
	if err != nil {
		return nil, err
	}
	secured, err := security.both(sockets)
	if err != nil {
		return nil, err
	}
	plainCalls, err := newCalls(nil)
	if err != nil {
		return nil, err
	}
	altsCalls, err := newCalls(&security)
	if err != nil {
		return nil, err
	}
	return map[string]work{
		"record":       timed(memory.inTurn),
		"plain":        timed(plain.atOnce),
		"alts":         timed(secured.atOnce),
		"unary-plain":  timed(plainCalls.unary),
		"unary-alts":   timed(altsCalls.unary),
		"stream-plain": timed(plainCalls.stream),
		"stream-alts":  timed(altsCalls.stream),
		"idle-plain":   idle(func(plain ends) (ends, error) { return plain, nil }),
		"idle-alts":    idle(security.both),
	}, nil
}

// work is what can be asked for: a figure for a size and a count.
type work func(size, count int) (float64, error)

// timed is the CPU time of the whole process for it, in seconds, the kernel's work included.
func timed(do func(size, count int) error) work {
	return func(size, count int) (float64, error) {
		start := cpuTime()
		err := do(size, count)
		return (cpuTime() - start).Seconds(), err
	}
}

// security is what secures the ends of a connection.
type security struct {
	client, server credentials.TransportCredentials
}

// ends are the two ends of a connection.
type ends struct{ client, server net.Conn }

// both makes an ALTS connection of a plain one.
func (security security) both(plain ends) (secured ends, err error) {
	served := make(chan error, 1)
	go func() {
		var err error
		secured.server, _, err = security.server.ServerHandshake(plain.server)
		served <- err
	}()
	within, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	secured.client, _, err = security.client.ClientHandshake(within, "bench", plain.client)
	if err != nil {
		return ends{}, err
	}
	return secured, <-served
}

// inTurn writes a message at one end and reads it at the other, on one goroutine: the connection has to
// take a message as a whole.
func (ends ends) inTurn(size, count int) error {
	message := make([]byte, size)
	for range count {
		if _, err := ends.client.Write(message); err != nil {
			return err
		}
		if _, err := io.ReadFull(ends.server, message); err != nil {
			return err
		}
	}
	return nil
}

// atOnce writes at one end while the other reads.
func (ends ends) atOnce(size, count int) error {
	written := make(chan error, 1)
	go func() {
		message := make([]byte, size)
		for range count {
			if _, err := ends.client.Write(message); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	arrived := make([]byte, 256<<10)
	for left := size * count; left > 0; {
		read, err := ends.server.Read(arrived)
		if err != nil {
			return err
		}
		left -= read
	}
	return <-written
}

// loopback is a connection over the loopback interface, with the congestion control that paces nothing.
func loopback() (ends, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ends{}, err
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return ends{}, err
	}
	server, err := listener.Accept()
	if err != nil {
		return ends{}, err
	}
	for _, end := range []net.Conn{client, server} {
		if err := withoutPacing(end.(*net.TCPConn)); err != nil {
			return ends{}, err
		}
	}
	return ends{client, server}, nil
}

func withoutPacing(socket *net.TCPConn) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(descriptor uintptr) {
		set = syscall.SetsockoptString(int(descriptor), syscall.IPPROTO_TCP, syscall.TCP_CONGESTION, "cubic")
	})
	if err != nil {
		return err
	}
	return set
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
