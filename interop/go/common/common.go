// Package common is what the client and the server of this peer have in common: the test service's
// data and codec, what ALTS proved, and the frame size.
package common

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"google.golang.org/grpc/credentials/alts"
	"google.golang.org/grpc/peer"
)

// Service is the name of the test service.
const Service = "alts.interop.Test"

// AnySize is for grpc-go's limits of message sizes: messages are as large as the cases want them.
const AnySize = 1<<31 - 1

// Codec carries messages as they are: a []byte to send, a *[]byte to receive.
type Codec struct{}

// Marshal returns the message.
func (Codec) Marshal(message any) ([]byte, error) {
	if bytes, is := message.([]byte); is {
		return bytes, nil
	}
	return nil, fmt.Errorf("a message is %T", message)
}

// Unmarshal puts the message where it is wanted.
func (Codec) Unmarshal(data []byte, message any) error {
	if bytes, is := message.(*[]byte); is {
		*bytes = data
		return nil
	}
	return fmt.Errorf("a message is wanted in %T", message)
}

// Name is what the content type says.
func (Codec) Name() string { return "bytes" }

// Message is the message number index of a stream: consecutive 32-bit words, little-endian, from
// index << 18 on, cut to its size.
func Message(index, size int) []byte {
	message := make([]byte, 0, size+3)
	for word := uint32(index) << 18; len(message) < size; word++ {
		message = binary.LittleEndian.AppendUint32(message, word)
	}
	return message[:size]
}

// Tally is what has been received of a stream.
type Tally struct {
	Messages int  `json:"messages"`
	Bytes    int  `json:"bytes"`
	Intact   bool `json:"intact"`
}

// NewTally is that of a stream before its first message.
func NewTally() Tally { return Tally{Intact: true} }

// Add counts the next message.
func (tally *Tally) Add(received []byte) {
	tally.Intact = tally.Intact && string(received) == string(Message(tally.Messages, len(received)))
	tally.Messages++
	tally.Bytes += len(received)
}

// Order is the request of Download.
type Order struct {
	Messages int `json:"messages"`
	Size     int `json:"size"`
}

// View is what ALTS proved about a connection, as grpc-go reports it to applications, in the words of
// all implementations.
func View(connection *peer.Peer) (map[string]string, error) {
	info, err := alts.AuthInfoFromPeer(connection)
	if err != nil {
		return nil, err
	}
	versions := info.PeerRPCVersions()
	least, most := versions.GetMinRpcVersion(), versions.GetMaxRpcVersion()
	return map[string]string{
		"transport_security_type": connection.AuthInfo.AuthType(),
		"application_protocol":    info.ApplicationProtocol(),
		"record_protocol":         info.RecordProtocol(),
		"security_level":          info.SecurityLevel().String(),
		"peer_service_account":    info.PeerServiceAccount(),
		"local_service_account":   info.LocalServiceAccount(),
		"peer_rpc_versions": fmt.Sprintf("%d.%d..%d.%d",
			least.GetMajor(), least.GetMinor(), most.GetMajor(), most.GetMinor()),
	}, nil
}

// MaxFrameSize makes grpc-go write frames of at most that many bytes; 0 leaves it the choice.
//
// grpc-go reads the variable before any main function runs, so the program starts itself again.
func MaxFrameSize(size uint) error {
	const variable = "GRPC_GO_EXPERIMENTAL_ALTS_MAX_FRAME_SIZE"
	value := strconv.FormatUint(uint64(size), 10)
	if size == 0 || os.Getenv(variable) == value {
		return nil
	}
	program, err := os.Executable()
	return errors.Join(err, os.Setenv(variable, value), syscall.Exec(program, os.Args, os.Environ()))
}
